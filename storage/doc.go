// Package storage owns how secrets rest: MasterKey, the Sealer that encrypts what must be read again, and Hashed for
// what must only be recognised. These exist here alone. Its folders hold the adapters that fill broker.Store: sqlstore
// speaks SQL to any engine, sqlite opens a file; migrations and queries are one set for all engines; storagetest is the
// one suite that every adapter is held against. What the rows mean belongs to the packages whose interfaces these are.
package storage
