package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/storage"
	"sallyport/storage/postgres"
	"sallyport/storage/sqlite"
)

// storePlace says where a configuration keeps its data, for people to read; the address of a server is a secret.
func storePlace(c *configs.Config) string {
	if c.Storage.Postgres.URL.IsSet() {
		return "the database of storage.postgres.url"
	}
	return c.File(c.Storage.SQLite.Path)
}

// emptyStore reports whether there is no store yet.
func emptyStore(ctx context.Context, c *configs.Config) (bool, error) {
	if c.Storage.Postgres.URL.IsSet() {
		return postgres.Empty(ctx, c.Storage.Postgres.URL.Reveal())
	}
	return sqlite.Empty(c.File(c.Storage.SQLite.Path))
}

// openStore opens the store of a configuration, making it and its master key when there is nothing yet.
func openStore(ctx context.Context, c *configs.Config, log *slog.Logger) (broker.Store, error) {
	key, err := masterKey(ctx, c)
	if err != nil {
		return nil, err
	}
	server := c.Storage.Postgres
	if server.URL.IsSet() {
		return postgres.Open(ctx, postgres.Options{
			URL: server.URL.Reveal(), MasterKey: key, Notifications: server.Notifications, MaxConns: server.MaxConnections,
			Log: log,
		})
	}
	return sqlite.Open(ctx, sqlite.Options{Path: c.File(c.Storage.SQLite.Path), MasterKey: key, Now: time.Now})
}

// masterKey reads the key, and makes one for an empty store only (STO-01).
func masterKey(ctx context.Context, c *configs.Config) (*storage.MasterKey, error) {
	empty, err := emptyStore(ctx, c)
	if err != nil {
		return nil, err
	}
	if file := c.MasterKeyFile(); file != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
		return storage.LoadOrCreateMasterKey(file, empty)
	}
	return storage.ParseMasterKey(c.Storage.MasterKey.Reveal())
}
