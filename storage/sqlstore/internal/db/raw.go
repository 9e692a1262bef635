// Package db holds the queries that sqlc makes of storage/queries, and the way past them.
package db

// Raw is the transaction itself, for statements over tables and columns that are only known at run time (backup,
// restore, sealing again).
func (q *Queries) Raw() DBTX { return q.db }
