package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestErrorsAreKnownByTheirCode(t *testing.T) {
	d := dialect(nil, nil)
	kinds := map[string]func(error) bool{
		"unique": d.Unique, "foreign": d.Foreign, "busy": d.Busy, "unavailable": d.Unavailable,
	}
	answer := func(code string) error { return fmt.Errorf("statement: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a key is taken":                           {answer("23505"), "unique"},
		"what it refers to is not there":           {answer("23503"), "foreign"},
		"two transactions got in each other's way": {answer("40001"), "busy"},
		"a deadlock":                               {answer("40P01"), "busy"},
		"nobody knows whether it was committed":    {answer("40003"), "unavailable"},
		"a lock was not to be had in time":         {answer("55P03"), "unavailable"},
		"a statement took too long":                {answer("57014"), "unavailable"},
		"the administrator ended us":               {answer("57P01"), "unavailable"},
		"the server crashed":                       {answer("57P02"), "unavailable"},
		"the server is starting":                   {answer("57P03"), "unavailable"},
		"a connection failed":                      {answer("08006"), "unavailable"},
		"too many connections":                     {answer("53300"), "unavailable"},
		"the disk is full":                         {answer("53100"), "unavailable"},
		"a transaction was idle for too long":      {answer("25P03"), "unavailable"},
		"the server only reads now":                {answer("25006"), "unavailable"},
		"our password is no longer right":          {answer("28P01"), "unavailable"},
		"the database is gone":                     {answer("3D000"), "unavailable"},
		"a page cannot be read":                    {answer("XX001"), "unavailable"},
		"the connection was cut":                   {fmt.Errorf("x: %w", io.ErrUnexpectedEOF), "unavailable"},
		"the connection was reset":                 {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "unavailable"},
		"the driver closed the connection earlier": {fmt.Errorf("x: %w", pgconn.ErrConnClosed), "unavailable"},
		"nobody listens":                           {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "unavailable"},
		"a statement is wrong":                     {answer("42601"), ""},
		"a value is missing":                       {answer("23502"), ""},
		"an error of ours":                         {errors.New("ours"), ""},
		"no row":                                   {sql.ErrNoRows, ""},
		"a code that is too short to have a class": {answer("4"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, is := range kinds {
				if got := is(c.err); got != (kind == c.want) {
					t.Errorf("%s: %v", kind, got)
				}
			}
		})
	}
}

func TestAConnectionThatIsRefusedIsUnavailable(t *testing.T) {
	_, err := pgconn.Connect(context.Background(), "postgres://app@127.0.0.1:1/app?sslmode=disable")
	if !unavailable(err) {
		t.Fatalf("got %v", err)
	}
}
