package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"sallyport/identity"
)

const (
	connectTimeout = 5 * time.Second
	// unanswered is how long the other side may leave what we sent without any sign of life. A server that vanished
	// without a word (a power cut, a failover) otherwise keeps a caller waiting for a quarter of an hour.
	unanswered = 20 * time.Second
)

// limits end what waits for too long, on every connection: a statement that hangs must not keep people from signing in.
// A URL may set others. An update takes milliseconds.
var limits = map[string]string{
	"statement_timeout":                   "10s",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "15s",
}

// startLimits hold while the schema is brought up to date, whatever the URL says: a step may take its time, and other
// processes wait for it.
var startLimits = map[string]string{
	"statement_timeout":                   "15min",
	"lock_timeout":                        "10min",
	"idle_in_transaction_session_timeout": "1h",
}

// parse reads the URL. What the parser says about a broken one is left out: it may quote parts of the password.
func parse(raw string) (*pgx.ConnConfig, error) {
	if err := checkURL(raw); err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(raw)
	if err != nil {
		var file *fs.PathError
		if errors.As(err, &file) {
			return nil, fmt.Errorf("database URL: %w: %w", file, identity.ErrInvalid)
		}
		return nil, fmt.Errorf("database URL cannot be read, want postgres://user:password@host:port/database with "+
			"special characters percent-encoded: %w", identity.ErrInvalid)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	config.DialFunc = dialer().DialContext
	setMissing(config.RuntimeParams, limits)
	setMissing(config.RuntimeParams, map[string]string{"application_name": "sallyport"})
	return config, nil
}

// checkURL refuses what could be read in two ways: with "@", "/", "?" or "#" as it is in a password, a part of it would
// be taken for the host or the database, whose names stand in errors.
func checkURL(raw string) error {
	scheme, rest, _ := strings.Cut(raw, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return fmt.Errorf("database URL does not begin with postgres://: %w", identity.ErrInvalid)
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	if strings.Count(rest, "@") != strings.Count(authority, "@") || strings.Count(authority, "@") > 1 {
		return fmt.Errorf("database URL has an @, /, ? or # in the user or password that is not percent-encoded: %w",
			identity.ErrInvalid)
	}
	return nil
}

func setMissing(params, defaults map[string]string) {
	for name, value := range defaults {
		if _, set := params[name]; !set {
			params[name] = value
		}
	}
}

// patient is the configuration for the time of the start.
func patient(config *pgx.ConnConfig) *pgx.ConnConfig {
	c := config.Copy()
	maps.Copy(c.RuntimeParams, startLimits)
	return c
}

func dialer() *net.Dialer {
	return &net.Dialer{
		Timeout: connectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: unanswered / 2, Interval: unanswered / 8, Count: 4,
		},
		Control: limitUnanswered,
	}
}

// warnUnlimited tells when the limits are not in force: a pooler may drop what a client asks for at the start.
func warnUnlimited(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	for name := range limits {
		var value string
		if err := db.QueryRowContext(ctx, "SHOW "+name).Scan(&value); err != nil {
			return fmt.Errorf("read %s: %w: %w", name, identity.ErrUnavailable, err)
		}
		if value == "0" {
			log.WarnContext(ctx, "the database does not limit how long we wait", "setting", name, "want", limits[name])
		}
	}
	return nil
}
