package sqlstore

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	// randomBits below the milliseconds. 41 bits of milliseconds last until the year 2039.
	randomBits = 22
	// maxDraws bounds the search for a free number; two draws in one millisecond are equal once in four million.
	maxDraws = 16
)

// firstAt is the lowest number of a moment.
func firstAt(t time.Time) int64 { return ms(t) << randomBits }

// numberAt draws a number of a moment, so that numbers order by time without a counter that all writers share.
func numberAt(t time.Time) int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process first
	random := binary.BigEndian.Uint64(b[:]) >> (64 - randomBits)
	return firstAt(t) | int64(random)
}

// numbered tries an insert with new numbers until one was free.
func numbered(t time.Time, insert func(number int64) (int64, error)) error {
	for range maxDraws {
		n, err := insert(numberAt(t))
		if err != nil || n > 0 {
			return err
		}
	}
	return fmt.Errorf("no free number after %d draws", maxDraws)
}
