//go:build !linux

package postgres

import "syscall"

// limitUnanswered does nothing here: only Linux has the limit.
func limitUnanswered(string, string, syscall.RawConn) error { return nil }
