package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"sallyport/storage/migrations"
)

// Steps lists the migrations of the store at path, applied and waiting, without changing anything. There must be a file.
func Steps(ctx context.Context, path string) (_ []migrations.Step, err error) {
	path, err = checkPath(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {"busy_timeout(5000)", "query_only(1)"}, "mode": {"rw"}}
	db, err := sql.Open(driverName, "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	steps, err := migrations.Steps(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return steps, nil
}
