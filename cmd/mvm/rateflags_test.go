package main

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mvm-project/mvm/ratelimit"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]ratelimit.Bucket{
		"1000":      {Size: 100, Refill: 100 * time.Millisecond},
		"1":         {Size: 1, Refill: time.Second},
		"4":         {Size: 1, Refill: time.Second / 4},
		"10":        {Size: 1, Refill: time.Second / 10},
		"1000:500":  {Size: 100, Refill: 100 * time.Millisecond, Burst: 500},
		"10m":       {Size: 1 << 20, Refill: 100 * time.Millisecond},
		"10MiB:1kb": {Size: 1 << 20, Refill: 100 * time.Millisecond, Burst: 1 << 10},
		"1k:0":      {Size: 103, Refill: 100585937},
	} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                     "bad rate",
		"0":                    "a rate of 0",
		"0k":                   "a rate of 0",
		"-5":                   `bad rate "-5"`,
		"+5":                   "bad rate",
		"1.5":                  "bad rate",
		"5x":                   `bad rate "5x"`,
		"5bk":                  "bad rate",
		"5:":                   `bad rate ""`,
		"5:-1":                 "bad rate",
		":5":                   "bad rate",
		"5:1:1":                "bad rate",
		"k":                    "bad rate",
		"18446744073709551616": "more than fits",
		"16777216t":            "more than fits",
		"1:99999999t":          "more than fits",
	} {
		if b, err := parseRate(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %s", s, b, err, want)
		}
	}
	if b, err := parseRate("18446744073709551615"); err != nil || b.Unlimited() {
		t.Errorf("%+v, %v", b, err)
	}
}

// FuzzRate: a bucket that is made has the rate that was asked for.
func FuzzRate(f *testing.F) {
	for _, s := range []string{"1", "10m:5", "18446744073709551615", "7:18446744073709551615", "16383p"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := parseRate(s)
		if err != nil {
			return
		}
		text, _, _ := strings.Cut(s, ":")
		rate, err := parseAmount(text)
		got := float64(b.Size) / b.Refill.Seconds()
		if err != nil || b.Unlimited() || b.Refill > time.Second || math.Abs(got-float64(rate)) > 1e-6*float64(rate) {
			t.Fatalf("%q: %+v is %v a second, not %d (%v)", s, b, got, rate, err)
		}
	})
}

// TestRateView: inspect shows the rate that was given.
func TestRateView(t *testing.T) {
	for _, s := range []string{"1", "3", "7:2", "10", "999", "1000", "12345", "10m", "1g:1m", "1t"} {
		b, err := parseRate(s)
		if err != nil {
			t.Fatal(err)
		}
		rate, burst, _ := strings.Cut(s, ":")
		want := rateView{}
		want.Rate, _ = parseAmount(rate)
		want.Burst, _ = parseAmount(cmp.Or(burst, "0"))
		if got := newRateView(&b); got == nil || got.Burst != want.Burst || math.Abs(float64(got.Rate)/float64(want.Rate)-1) > 1e-8 {
			t.Errorf("%s: %+v, want %+v", s, got, want)
		}
	}
	if b, err := parseRate("none"); err != nil || newRateView(&b) != nil || newRateView(nil) != nil {
		t.Errorf("none: %+v, %v", b, err)
	}
	if got := newRateView(&ratelimit.Bucket{Size: math.MaxUint64, Refill: 1}); got.Rate != math.MaxUint64 {
		t.Errorf("%+v", got)
	}
}
