//go:build unix

package storage

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives f the owner of the file that it will replace. An administrator who works as root would otherwise take
// the key away from the server.
func keepOwner(f *os.File, former fs.FileInfo) error {
	owner, ok := former.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
