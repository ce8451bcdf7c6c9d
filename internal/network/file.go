package network

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/mvm-project/mvm/internal/folder"
)

// write makes a file hold v, as a whole or not at all, whatever happens. It needs
// the lock: there is one new file of that name at a time.
func write(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), folder.Unstable+filepath.Base(path))
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := folder.Sync(tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(path))
}
