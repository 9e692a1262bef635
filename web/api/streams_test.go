package api

import (
	"errors"
	"strconv"
	"testing"

	"sallyport/identity"
)

func TestDOS01_NobodyTakesAllStreams(t *testing.T) {
	var s streams
	var leave []func()
	enter := func(r reader) error {
		end, err := s.enter(r)
		if err == nil {
			leave = append(leave, end)
		} else if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != "too_many_streams" {
			t.Fatal(err)
		}
		return err
	}
	fill := func(administers bool) int {
		before := len(leave)
		for i := range 2 * maxStreams {
			_ = enter(reader{account: strconv.Itoa(i) + strconv.FormatBool(administers), administers: administers})
		}
		return len(leave) - before
	}
	for range streamsEach {
		if err := enter(reader{account: "lena"}); err != nil {
			t.Fatal(err)
		}
	}
	if enter(reader{account: "lena"}) == nil || enter(reader{account: "lena", administers: true}) == nil {
		t.Error("one account has more than its own")
	}
	if n := fill(false); n != maxStreams-streamsKept-streamsEach {
		t.Errorf("%d more readers", n)
	}
	if n := fill(true); n != streamsKept {
		t.Errorf("%d administrators beside them", n)
	}
	for _, end := range leave {
		end()
	}
	if s.open != 0 || len(s.of) != 0 {
		t.Errorf("left are %d, %v", s.open, s.of)
	}
	if n := fill(true); n != maxStreams {
		t.Errorf("%d administrators by themselves", n)
	}
}
