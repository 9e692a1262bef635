package postgres

import (
	"testing"

	"sallyport/broker"
	"sallyport/storage/storagetest"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		parameters    string
		notifications bool
	}{
		"with notifications": {notifications: true},
		"as behind a pooler that knows no prepared statements": {parameters: "&default_query_exec_mode=exec"},
	} {
		t.Run(name, func(t *testing.T) {
			url, key := server.Get(t).NewDatabase(t), newKey(t)
			storagetest.Run(t, func(t testing.TB) broker.Store {
				s := open(t, Options{URL: url + c.parameters, MasterKey: key, MaxConns: 12, Notifications: c.notifications})
				empty(t, url)
				return s
			})
		})
	}
}

// empty takes all rows but those of the first start: a new database for each test would cost seconds.
func empty(t testing.TB, url string) {
	t.Helper()
	server.Get(t).Exec(t, url, `SET session_replication_role = replica; DO $$ DECLARE r record; BEGIN
		FOR r IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
			AND tablename NOT IN ('meta', 'goose_db_version', 'sallyport_start')
		LOOP EXECUTE 'DELETE FROM ' || quote_ident(r.tablename); END LOOP; END $$`)
}
