package sqlstore

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"strconv"
	"time"
	"unicode/utf8"

	"sallyport/identity"
	"sallyport/storage"
)

// A backup is gzip of lines of JSON:
//
//	{"sallyport_backup":1,"schema":3,"made_at":"2026-03-01T11:00:00Z"}
//	{"table":"accounts","columns":[{"name":"id","type":"TEXT"},…]}
//	["7Kx…","ada",true,1772362800000,null,…]          rows: text, number, true or false, bytes as base64, null
//	…
//	{"rows":{"accounts":3,…},"sha256":"…","seal":"…"}
//
// The last line's sum covers all bytes of the lines before it, and seal is that sum, sealed with the master key of the
// house: whoever can write to where backups lie can neither cut one short nor make somebody an administrator in it.
const (
	backupFormat = 1
	// maxLine bounds what is held in memory of a line. The largest rows are documents of providers, of a few MiB.
	maxLine = 64 << 20
)

// backupSeal is the place of the sum's seal.
func backupSeal() storage.Place { return storage.Place{Table: "backup", Column: "sha256"} }

// header is the first line.
type header struct {
	Format int       `json:"sallyport_backup"`
	Schema int64     `json:"schema"`
	MadeAt time.Time `json:"made_at"`
}

// tableLine begins a table.
type tableLine struct {
	Table   string   `json:"table"`
	Columns []column `json:"columns"`
}

// trailer is the last line.
type trailer struct {
	Rows   map[string]int64 `json:"rows"`
	SHA256 string           `json:"sha256"`
	Seal   []byte           `json:"seal"`
}

// backupWriter writes lines and counts.
type backupWriter struct {
	zip  *gzip.Writer
	sum  hash.Hash
	rows map[string]int64
}

func newBackupWriter(w io.Writer) *backupWriter {
	return &backupWriter{zip: gzip.NewWriter(w), sum: sha256.New(), rows: map[string]int64{}}
}

func (w *backupWriter) line(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(line) >= maxLine {
		return fmt.Errorf("a line of %d bytes is too long for a backup", len(line))
	}
	line = append(line, '\n')
	w.sum.Write(line)
	_, err = w.zip.Write(line)
	return err
}

// row writes values as their columns' types have them.
func (w *backupWriter) row(table string, columns []column, values []any) error {
	for i, c := range columns {
		v, err := c.written(values[i])
		if err != nil {
			return fmt.Errorf("%s.%s: %w", table, c.Name, err)
		}
		values[i] = v
	}
	w.rows[table]++
	return w.line(values)
}

// written makes a driver's value one that JSON keeps exactly.
func (c column) written(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		if c.Type == typeText && utf8.ValidString(v) {
			return v, nil
		}
	case int64:
		if c.Type == typeBigint {
			return v, nil
		}
		if c.Type == typeBoolean {
			return v != 0, nil
		}
	case bool:
		if c.Type == typeBoolean {
			return v, nil
		}
	case []byte:
		if c.Type == typeBytea {
			return v, nil // base64 by encoding/json
		}
	}
	return nil, fmt.Errorf("a value of %T is no good %s", v, c.Type)
}

// finish writes the trailer. The writer below is not closed.
func (w *backupWriter) finish(sealer *storage.Sealer) error {
	sum := w.sum.Sum(nil)
	seal, err := sealer.Seal(sum, backupSeal())
	if err != nil {
		return err
	}
	if err := w.line(trailer{Rows: w.rows, SHA256: hex.EncodeToString(sum), Seal: seal}); err != nil {
		return err
	}
	return w.zip.Close()
}

// backupTaker takes what a backup holds, in its order.
type backupTaker interface {
	begin(h header) error
	table(t tableLine) error
	// row gets values of the types of the table's columns: string, int64, bool, []byte or nil.
	row(values []any) error
}

// readBackup reads a whole backup and reports what it is. What to took is only good when there is no error: the proof
// stands at the end. Anything that is not a backup, or not a whole one, is identity.ErrInvalid; one that was sealed with
// another master key is ErrWrongMasterKey.
func readBackup(r io.Reader, sealer *storage.Sealer, to backupTaker) (BackupInfo, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("not a backup: %w: %w", identity.ErrInvalid, err)
	}
	b := &backupReader{lines: bufio.NewReaderSize(zip, 64<<10), sum: sha256.New(), rows: map[string]int64{}, to: to}
	h, err := b.header()
	if err != nil {
		return BackupInfo{}, err
	}
	end, err := b.body()
	if err != nil {
		return BackupInfo{}, err
	}
	if err := b.check(end, sealer); err != nil {
		return BackupInfo{}, err
	}
	return BackupInfo{Schema: h.Schema, MadeAt: h.MadeAt, Rows: b.rows}, nil
}

type backupReader struct {
	lines   *bufio.Reader
	sum     hash.Hash
	rows    map[string]int64
	to      backupTaker
	current tableLine
	number  int
}

// header reads the first line.
func (b *backupReader) header() (header, error) {
	line, err := b.line()
	if err != nil {
		return header{}, err
	}
	b.sum.Write(line)
	var h header
	if err := strictly(line, &h); err != nil {
		return header{}, b.broken(err)
	}
	if h.Format != backupFormat {
		return header{}, fmt.Errorf("backup of format %d, this version reads %d: %w", h.Format, backupFormat,
			identity.ErrInvalid)
	}
	return h, b.to.begin(h)
}

// body reads tables and rows up to the trailer.
func (b *backupReader) body() (trailer, error) {
	for {
		line, err := b.line()
		if err != nil {
			return trailer{}, err
		}
		if bytes.HasPrefix(line, []byte(`{"rows"`)) {
			var end trailer
			if err := strictly(line, &end); err != nil {
				return trailer{}, b.broken(err)
			}
			return end, nil
		}
		b.sum.Write(line)
		if line[0] == '[' {
			err = b.row(line)
		} else {
			err = b.table(line)
		}
		if err != nil {
			return trailer{}, err
		}
	}
}

func (b *backupReader) table(line []byte) error {
	b.current = tableLine{}
	if err := strictly(line, &b.current); err != nil {
		return b.broken(err)
	}
	b.rows[b.current.Table] = 0
	return b.to.table(b.current)
}

func (b *backupReader) row(line []byte) error {
	var read []any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber() // a float64 would round audit numbers
	if err := d.Decode(&read); err != nil {
		return b.broken(err)
	}
	if len(read) != len(b.current.Columns) {
		return b.broken(fmt.Errorf("%d values in %d columns", len(read), len(b.current.Columns)))
	}
	for i, c := range b.current.Columns {
		v, ok := c.read(read[i])
		if !ok {
			return b.broken(fmt.Errorf("%s is not of the type %s", c.Name, c.Type))
		}
		read[i] = v
	}
	b.rows[b.current.Table]++
	return b.to.row(read)
}

// read is the reverse of written.
func (c column) read(v any) (any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case bool:
		return v, c.Type == typeBoolean
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		return n, err == nil && c.Type == typeBigint
	case string:
		if c.Type == typeBytea {
			raw, err := base64.StdEncoding.Strict().DecodeString(v)
			return raw, err == nil
		}
		return v, c.Type == typeText
	}
	return nil, false
}

// check holds the trailer against what was read, and makes sure that nothing follows it.
func (b *backupReader) check(end trailer, sealer *storage.Sealer) error {
	if _, err := b.lines.ReadByte(); !errors.Is(err, io.EOF) {
		return b.broken(errors.Join(errors.New("something follows the end"), err))
	}
	sum := b.sum.Sum(nil)
	if told, err := hex.DecodeString(end.SHA256); err != nil || subtle.ConstantTimeCompare(told, sum) != 1 {
		return b.broken(errors.New("the sum does not match: it was altered"))
	}
	if !maps.Equal(end.Rows, b.rows) {
		return b.broken(errors.New("the numbers of rows do not match"))
	}
	sealed, err := sealer.Open(end.Seal, backupSeal())
	if err != nil {
		return fmt.Errorf("backup: %w", ErrWrongMasterKey)
	}
	if subtle.ConstantTimeCompare(sealed, sum) != 1 {
		return b.broken(errors.New("the seal is another backup's: it was altered"))
	}
	return nil
}

// line reads one line, with its end, into memory of its own.
func (b *backupReader) line() ([]byte, error) {
	b.number++
	var line []byte
	for {
		part, err := b.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil && len(line) > 1:
			return line, nil
		case err == nil:
			return nil, b.broken(errors.New("an empty line"))
		case errors.Is(err, io.EOF):
			return nil, b.broken(errors.New("it is cut off"))
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, b.broken(err)
		case len(line) >= maxLine:
			return nil, b.broken(errors.New("the line is too long"))
		}
	}
}

func (b *backupReader) broken(err error) error {
	return fmt.Errorf("backup, line %d: %w: %w", b.number, identity.ErrInvalid, err)
}

// strictly decodes one JSON value without unknown fields.
func strictly(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
