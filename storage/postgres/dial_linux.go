package postgres

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), which the syscall package does not name.
const tcpUserTimeout = 0x12

// limitUnanswered ends a connection whose other side does not acknowledge what we sent. Keep-alive probes do not see
// that: they are sent only while nothing else is on its way.
func limitUnanswered(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	control := func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unanswered.Milliseconds()))
	}
	if controlErr := c.Control(control); controlErr != nil {
		return controlErr
	}
	return err
}
