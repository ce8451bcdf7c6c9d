package vhost

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// Job is what a host runs.
type Job struct {
	// Files are put into the folder the script runs in: name -> file or folder
	// of this machine. Links named here are followed, those in folders are kept.
	Files map[string]string
	// Programs of this machine, by path, are put beside them with the libraries
	// they are linked to.
	Programs []string
	// Script is run by a POSIX shell.
	Script string
	// Stdout and Stderr take what the script prints, as it does; nil: nobody.
	Stdout, Stderr io.Writer
}

// diskBlock is what a disk's size has to be a multiple of.
const diskBlock = 4096

// libraries is the folder of the programs' libraries.
const libraries = "lib"

// files are all files of the job: name -> file of this machine.
func (j Job) files(ctx context.Context) (map[string]string, error) {
	all := maps.Clone(j.Files)
	if all == nil {
		all = map[string]string{}
	}
	for _, path := range j.Programs {
		all[filepath.Base(path)] = path
		libs, err := sharedLibraries(ctx, path)
		if err != nil {
			return nil, err
		}
		for _, lib := range libs {
			all[filepath.Join(libraries, filepath.Base(lib))] = lib
		}
	}
	return all, nil
}

// GuestArgs are words for the command line of guests on a host. QEMU 7.2 takes an
// interrupt that arrives between a nested guest's STI and HLT before the HLT: a
// guest that has stopped its tick sleeps on, until its next timer, which in a boot
// may be a quarter of an hour away. One in some hundred boots did.
const GuestArgs = "nohz=off"

// script is the job's script, with its programs' libraries in reach.
func (j Job) script() string {
	script := "export MVM_KERNEL_ARGS=" + GuestArgs + "\n" + j.Script + "\n"
	if len(j.Programs) == 0 {
		return script
	}
	return "export LD_LIBRARY_PATH=$PWD/" + libraries + "\n" + script
}

// pack writes the job as a tar to path, padded to be a disk.
func (j Job) pack(ctx context.Context, path string) (err error) {
	files, err := j.files(ctx)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buf)
	script := j.script()
	if err := w.WriteHeader(&tar.Header{Name: "run", Mode: 0o755, Size: int64(len(script)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, script); err != nil {
		return err
	}
	for name, from := range files {
		if err := packTree(w, name, from); err != nil {
			return err
		}
	}
	if err := errors.Join(w.Close(), buf.Flush()); err != nil {
		return err
	}
	n, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return f.Truncate((n + diskBlock - 1) / diskBlock * diskBlock)
}

// packTree adds a file or a folder as name.
func packTree(w *tar.Writer, name, from string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil || fi.Mode()&fs.ModeSocket != 0 {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return packFile(w, filepath.Join(name, rel), path, fi)
	})
}

func packFile(w *tar.Writer, name, path string, fi fs.FileInfo) error {
	link := ""
	if fi.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(fi, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	// busybox's tar takes GNU's access time for a part of the name.
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.ModTime = h.ModTime.Truncate(time.Second)
	if err := w.WriteHeader(h); err != nil || !fi.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
