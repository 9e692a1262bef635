package storage

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// WriteNew writes a file with mode 0600 that must not exist: fs.ErrExist. The content goes to a temporary name in the
// same folder, to the disk, and gets its own name by a hard link, which fails where the name is taken: nobody ever reads
// half a file, an error of write leaves none, and of two writers one wins.
func WriteNew(path string, write func(w io.Writer) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".new-*") // O_EXCL, mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if err := writeSynced(tmp, write); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(f *os.File, write func(w io.Writer) error) error {
	err := write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func writeText(w io.Writer, text string) error {
	_, err := io.WriteString(w, text+"\n")
	return err
}

// syncDir makes the new name durable: a key lost in a power cut would take everything it sealed with it.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the folder just written to
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
