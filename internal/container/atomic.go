package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/mvm-project/mvm/internal/folder"
)

// durability says what has to survive a loss of power, beside a killed process,
// which an atomic rename alone survives.
type durability bool

const (
	volatile durability = false // nothing is lost that a reboot does not end anyway
	durable  durability = true
)

// writeJSON makes path hold v, as a whole or not at all.
func writeJSON(path string, v any, d durability) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// One process at a time works on a folder: the name need not be random.
	tmp := path + ".new"
	if err := writeFile(tmp, data, d); err != nil {
		return explain(errors.Join(err, ignoreMissing(os.Remove(tmp))))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if d == volatile {
		return nil
	}
	return folder.Sync(filepath.Dir(path))
}

func writeFile(path string, data []byte, d durability) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && d == durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// explain says what to do about a full disk.
func explain(err error) error {
	return folder.FullDisk(err, ", or remove containers (mvm rm) and images (mvm rmi)")
}
