package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage/migrations"
	"sallyport/storage/sqlstore/internal/db"
)

// column is a column as a backup names it. The types are the four of the schema, as the migrations spell them.
type column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

const (
	typeText    = "TEXT"
	typeBigint  = "BIGINT"
	typeBoolean = "BOOLEAN"
	typeBytea   = "BYTEA"
)

// ourType spells the type that a driver tells as the schema does; "" for one that the schema does not have.
func ourType(told string) string {
	switch strings.ToUpper(told) {
	case typeText:
		return typeText
	case typeBigint, "INT8":
		return typeBigint
	case typeBoolean, "BOOL":
		return typeBoolean
	case typeBytea:
		return typeBytea
	}
	return ""
}

// kept lists the tables of a backup. Leases and notices to caches mean something to running processes only.
func kept() ([]migrations.Table, error) {
	all, err := migrations.Tables()
	return slices.DeleteFunc(all, func(t migrations.Table) bool { return t.Name == "jobs" || t.Name == "changes" }), err
}

// columnsOf asks the database for a table's columns.
func columnsOf(ctx context.Context, q db.DBTX, table string) (_ []column, err error) {
	rows, err := q.QueryContext(ctx, "SELECT * FROM "+quoted(table)+" LIMIT 0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	told, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	columns := make([]column, 0, len(told))
	for _, t := range told {
		c := column{Name: t.Name(), Type: ourType(t.DatabaseTypeName())}
		if c.Type == "" {
			return nil, fmt.Errorf("%s.%s has the type %s, which a backup cannot hold", table, c.Name, t.DatabaseTypeName())
		}
		columns = append(columns, c)
	}
	return columns, rows.Err()
}

// quoted spells a name of the schema for both engines; "key" and "count" are words of theirs.
func quoted(names ...string) string {
	return `"` + strings.Join(names, `", "`) + `"`
}

// placeholders are n parameters from number first on: "$3, $4".
func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", first+i)
	}
	return b.String()
}

// pages reads a table in the order of its primary key, so many rows with one statement: statements stay short, whatever
// the size of the table, and no more than a page is held in memory.
type pages struct {
	table migrations.Table
	// columns are read; those of the key must be among them.
	columns []string
	limit   int
	// where restricts the rows; empty: all.
	where string

	after []any
}

// next returns the rows of the next page; none: the table is over.
func (p *pages) next(ctx context.Context, q db.DBTX) ([][]any, error) {
	rows, err := q.QueryContext(ctx, p.statement(), append(slices.Clone(p.after), p.limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // what it could tell, Err has told
	var page [][]any
	for rows.Next() {
		values, into := make([]any, len(p.columns)), make([]any, len(p.columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		page = append(page, values)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(page) > 0 {
		p.after = p.key(page[len(page)-1])
	}
	return page, nil
}

func (p *pages) statement() string {
	key := quoted(p.table.Key...)
	var conditions []string
	if p.where != "" {
		conditions = append(conditions, p.where)
	}
	if p.after != nil {
		conditions = append(conditions, "("+key+") > ("+placeholders(1, len(p.table.Key))+")")
	}
	where := ""
	if len(conditions) > 0 {
		where = " WHERE " + strings.Join(conditions, " AND ")
	}
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT $%d", quoted(p.columns...), quoted(p.table.Name), where, key,
		len(p.after)+1)
}

// key picks the primary key out of a row.
func (p *pages) key(row []any) []any {
	key := make([]any, 0, len(p.table.Key))
	for _, name := range p.table.Key {
		key = append(key, row[slices.Index(p.columns, name)])
	}
	return key
}

// updateRaw runs fn in a writing transaction with the connection it runs on.
func (s *Store) updateRaw(ctx context.Context, fn func(t *tx, q db.DBTX) error) error {
	return s.Update(ctx, onConnection(fn))
}

// viewRaw runs fn on one consistent state with the connection it runs on.
func (s *Store) viewRaw(ctx context.Context, fn func(t *tx, q db.DBTX) error) error {
	return s.View(ctx, onConnection(fn))
}

func onConnection(fn func(t *tx, q db.DBTX) error) func(broker.Tx) error {
	return func(btx broker.Tx) error {
		t, ok := btx.(*tx)
		if !ok {
			return fmt.Errorf("transaction is a %T", btx)
		}
		return fn(t, t.q.Raw())
	}
}

// errAgain ends a transaction that an engine wants run again after part of a stream was read or written.
func errAgain(op string) error {
	return fmt.Errorf("%s: others wrote at the same time, try again: %w", op, identity.ErrUnavailable)
}
