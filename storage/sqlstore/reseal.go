package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/migrations"
	"sallyport/storage/sqlstore/internal/db"
)

// sealedColumn is a column of values that the master key seals.
type sealedColumn struct {
	table  migrations.Table
	column string
	// place is the column's name in storage.Place.
	place string
}

// sealedColumns lists all of them. refresh_tokens.answer_sealed is not under the master key but under a secret of its
// holder.
func sealedColumns() []sealedColumn {
	return []sealedColumn{
		{migrations.Table{Name: "meta", Key: []string{"name"}}, "value", "value"},
		{migrations.Table{Name: "identities", Key: []string{"provider", "subject"}}, "upstream_sealed", "upstream"},
		{migrations.Table{Name: "signing_keys", Key: []string{"id"}}, "private_sealed", "private"},
		{migrations.Table{Name: "settings", Key: []string{"name"}}, "value_sealed", "value"},
		{migrations.Table{Name: "verifications", Key: []string{"id"}}, "code_sealed", "code"},
	}
}

func (c sealedColumn) pages(limit int) *pages {
	return &pages{
		table: c.table, columns: append(slices.Clone(c.table.Key), c.column), limit: limit,
		where: quoted(c.column) + " IS NOT NULL",
	}
}

// at is the place of a row's value.
func (c sealedColumn) at(key []any) (storage.Place, error) {
	p := storage.Place{Table: c.table.Name, Column: c.place}
	for _, k := range key {
		text, ok := k.(string)
		if !ok {
			return p, fmt.Errorf("a key of %s is a %T", c.table.Name, k)
		}
		p.Row = append(p.Row, text)
	}
	return p, nil
}

// Reseal opens what is sealed with another key than the primary one and seals it with that, so many rows in one
// transaction, while others read and write. A value that somebody replaced meanwhile is left to them. It returns how many
// values it sealed; run again, it has nothing to do. A value that does not open is an error, and stays as it is.
func (s *Store) Reseal(ctx context.Context, batch int) (int, error) {
	if batch < 1 {
		return 0, fmt.Errorf("reseal %d at a time: %w", batch, identity.ErrInvalid)
	}
	total := 0
	for _, c := range sealedColumns() {
		p := c.pages(batch)
		for over := false; !over; {
			var sealed int
			var next []any
			err := s.updateRaw(ctx, func(t *tx, q db.DBTX) (err error) {
				again := *p // a retry reads the same page
				sealed, over, err = t.resealPage(ctx, q, c, &again)
				next = again.after
				return err
			})
			if err != nil {
				return total, fmt.Errorf("reseal: %w", err)
			}
			p.after = next
			total += sealed
		}
	}
	return total, nil
}

func (t *tx) resealPage(ctx context.Context, q db.DBTX, c sealedColumn, p *pages) (sealed int, over bool, err error) {
	page, err := p.next(ctx, q)
	if err != nil {
		return 0, false, t.fail(ctx, "read "+c.table.Name, err)
	}
	for _, row := range page {
		done, err := t.resealRow(ctx, q, c, row)
		if err != nil {
			return 0, false, err
		}
		if done {
			sealed++
		}
	}
	return sealed, len(page) < p.limit, nil
}

// resealRow seals the value of one row, unless the primary key did already or somebody was faster.
func (t *tx) resealRow(ctx context.Context, q db.DBTX, c sealedColumn, row []any) (bool, error) {
	key, former := row[:len(row)-1], row[len(row)-1]
	place, err := c.at(key)
	if err != nil {
		return false, err
	}
	old, ok := former.([]byte)
	if !ok {
		return false, fmt.Errorf("%s.%s is a %T", c.table.Name, c.column, former)
	}
	if id, err := storage.SealedWith(old); err != nil || id == t.store.sealer.Primary() {
		return false, err
	}
	plain, err := t.store.sealer.Open(old, place)
	if err != nil {
		return false, fmt.Errorf("%q: %w", place.Row, err)
	}
	sealed, err := t.store.sealer.Seal(plain, place)
	if err != nil {
		return false, err
	}
	result, err := q.ExecContext(ctx, c.update(), append([]any{sealed, old}, key...)...)
	if err != nil {
		return false, t.fail(ctx, "reseal "+c.table.Name, err)
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// update replaces a value that is still the one that was read.
func (c sealedColumn) update() string {
	statement := fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %[2]s = $2", quoted(c.table.Name), quoted(c.column))
	for i, k := range c.table.Key {
		statement += fmt.Sprintf(" AND %s = $%d", quoted(k), i+3)
	}
	return statement
}

// sealedPage is how many sealed values are looked at with one statement.
const sealedPage = 500

// SealedWith counts the values that each key of the master key sealed, without opening them.
func (s *Store) SealedWith(ctx context.Context) (map[storage.KeyID]int, error) {
	var counts map[storage.KeyID]int
	err := s.viewRaw(ctx, func(t *tx, q db.DBTX) error {
		counts = map[storage.KeyID]int{}
		for _, c := range sealedColumns() {
			if err := t.countSealed(ctx, q, c, counts); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count sealed values: %w", err)
	}
	return counts, nil
}

func (t *tx) countSealed(ctx context.Context, q db.DBTX, c sealedColumn, counts map[storage.KeyID]int) error {
	p := c.pages(sealedPage)
	for {
		page, err := p.next(ctx, q)
		if err != nil {
			return t.fail(ctx, "read "+c.table.Name, err)
		}
		for _, row := range page {
			sealed, _ := row[len(row)-1].([]byte)
			id, err := storage.SealedWith(sealed)
			if err != nil {
				return fmt.Errorf("%s.%s: %w", c.table.Name, c.column, err)
			}
			counts[id]++
		}
		if len(page) < p.limit {
			return nil
		}
	}
}
