package postgres

import (
	"context"
	"errors"
	"fmt"

	"sallyport/identity"
	"sallyport/storage/migrations"
)

// Steps lists the migrations of the store in the database, applied and waiting, without changing anything. A database
// that does not answer is identity.ErrUnavailable.
func Steps(ctx context.Context, url string) ([]migrations.Step, error) {
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	db := pool(config, 1)
	steps, err := migrations.Steps(ctx, db)
	if err != nil {
		err = fmt.Errorf("look into the database: %w: %w", identity.ErrUnavailable, err)
	}
	return steps, errors.Join(err, db.Close())
}
