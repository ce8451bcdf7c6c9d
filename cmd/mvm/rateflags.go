package main

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/mvm-project/mvm/ratelimit"
	"github.com/mvm-project/mvm/vmm"
)

// rateFlags are run's and create's that bound what devices do, as they were given.
type rateFlags struct {
	diskOps, diskBytes, rxOps, rxBytes, txOps, txBytes string
}

func (f *rateFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.diskOps, "disk-iops", "", "bound the reads and writes of each disk: `RATE[:BURST]` a second")
	fs.StringVar(&f.diskBytes, "disk-bps", "", "bound the bytes of each disk: `RATE[:BURST]` a second, such as 10m")
	fs.StringVar(&f.rxOps, "net-rx-pps", "", "bound the frames it receives: `RATE[:BURST]` a second")
	fs.StringVar(&f.rxBytes, "net-rx-bps", "", "bound the bytes it receives: `RATE[:BURST]` a second")
	fs.StringVar(&f.txOps, "net-tx-pps", "", "bound the frames it sends: `RATE[:BURST]` a second")
	fs.StringVar(&f.txBytes, "net-tx-bps", "", "bound the bytes it sends: `RATE[:BURST]` a second")
}

func (f *rateFlags) parse() (l vmm.Limits, err error) {
	for _, flag := range []struct {
		name, value string
		bucket      **ratelimit.Bucket
	}{
		{"disk-iops", f.diskOps, &l.Disk.Ops},
		{"disk-bps", f.diskBytes, &l.Disk.Bytes},
		{"net-rx-pps", f.rxOps, &l.RX.Ops},
		{"net-rx-bps", f.rxBytes, &l.RX.Bytes},
		{"net-tx-pps", f.txOps, &l.TX.Ops},
		{"net-tx-bps", f.txBytes, &l.TX.Bytes},
	} {
		if flag.value == "" {
			continue
		}
		b, err := parseRate(flag.value)
		if err != nil {
			return l, fmt.Errorf("--%s: %w", flag.name, err)
		}
		*flag.bucket = &b
	}
	return l, nil
}

// parseRate reads RATE[:BURST]: how much passes in a second, and how much more
// may, once; or none.
func parseRate(s string) (ratelimit.Bucket, error) {
	if s == "none" {
		return ratelimit.Bucket{}, nil
	}
	text, burstText, given := strings.Cut(s, ":")
	rate, err := parseAmount(text)
	if err == nil && rate == 0 {
		err = errors.New("a rate of 0 lets nothing through: \"none\" is no limit")
	}
	if err != nil {
		return ratelimit.Bucket{}, err
	}
	b := bucketOf(rate)
	if given {
		b.Burst, err = parseAmount(burstText)
	}
	return b, err
}

// bucketsPerSecond is how often a bucket flows full in a second: so often that
// what a full one lets through at first is little beside the rate, and so seldom
// that timers which are late by a millisecond lose nothing.
const bucketsPerSecond = 10

// bucketOf is a bucket of that rate, exact to a nanosecond of its refill.
func bucketOf(rate uint64) ratelimit.Bucket {
	size := (rate-1)/bucketsPerSecond + 1
	hi, lo := bits.Mul64(size, uint64(time.Second))
	refill, _ := bits.Div64(hi, lo, rate) // at most a second: size <= rate
	return ratelimit.Bucket{Size: size, Refill: time.Duration(refill)}
}

// parseAmount reads a whole number with docker's units, of 1024: b, k, m, g or t.
func parseAmount(s string) (uint64, error) {
	digits := strings.TrimRight(strings.ToLower(s), "bkmgti")
	unit := strings.ToLower(s[len(digits):])
	shift, known := map[string]int{
		"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20, "g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40,
	}[unit]
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && known && n > math.MaxUint64>>shift:
		return 0, fmt.Errorf("%s is more than fits: want at most %d", s, uint64(math.MaxUint64))
	case err != nil || !known:
		return 0, fmt.Errorf("bad rate %q: want RATE[:BURST], each a whole number, with or without a unit k, m, g or t", s)
	}
	return n << shift, nil
}
