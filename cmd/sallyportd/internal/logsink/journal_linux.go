package logsink

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// DefaultJournal is the socket of systemd's journal.
const DefaultJournal = "/run/systemd/journal/socket"

const (
	// journalWait is how long the journal may take to accept a line. Then the line goes to
	// the stream.
	journalWait = time.Second
	// maxEntry is the size of the largest entry that is sent as a datagram.
	maxEntry = 64 << 10
)

// journal is a connection to the journal.
type journal struct {
	path string
	name string // of this program
	conn *net.UnixConn
}

// journalOf returns the journal that a stream leads to; nil: it leads elsewhere. The
// variable JOURNAL_STREAM has the device and inode of such a stream.
func journalOf(cfg Config) *journal {
	file, ok := cfg.Out.(*os.File)
	if !ok || cfg.JournalStream == "" {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || fmt.Sprintf("%d:%d", st.Dev, st.Ino) != cfg.JournalStream {
		return nil
	}
	path := cfg.Journal
	if path == "" {
		path = DefaultJournal
	}
	return &journal{path: path, name: filepath.Base(os.Args[0])}
}

// write sends a line. Text is the same line as text.
func (j *journal) write(r slog.Record, text []byte) error {
	entry := j.entry(r, text)
	if len(entry) > maxEntry {
		return syscall.EMSGSIZE
	}
	for try := 0; ; try++ {
		if j.conn == nil {
			conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.path, Net: "unixgram"})
			if err != nil {
				return err
			}
			j.conn = conn
		}
		j.conn.SetWriteDeadline(time.Now().Add(journalWait))
		_, err := j.conn.Write(entry)
		if err == nil {
			return nil
		}
		j.conn.Close()
		j.conn = nil
		if try > 0 || os.IsTimeout(err) { // once more: the journal may have started again
			return err
		}
	}
}

// entry returns a line in the journal's native protocol.
func (j *journal) entry(r slog.Record, text []byte) []byte {
	// As text, but for the time, which the journal has itself.
	message := strings.TrimSuffix(string(text), "\n")
	if _, rest, ok := strings.Cut(message, " "); ok && strings.HasPrefix(message, "time=") {
		message = rest
	}
	b := field(nil, "MESSAGE", message)
	b = field(b, "PRIORITY", priority(r.Level))
	b = field(b, "SYSLOG_IDENTIFIER", j.name)
	b = field(b, "SALLYPORT_EVENT", r.Message)
	b = field(b, "SALLYPORT_TIME", r.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	r.Attrs(func(a slog.Attr) bool {
		b = field(b, "SALLYPORT_"+fieldName(a.Key), a.Value.String())
		return true
	})
	return b
}

// field appends a field. A value with a line feed needs its length before it.
func field(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
}

// fieldName returns the name of the field of a key: the journal accepts capital letters,
// digits and underscores.
func fieldName(key string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'Z':
			return c
		}
		return '_'
	}, key)
}

// priority returns the number of a level, as syslog has it.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "3"
	case l >= slog.LevelWarn:
		return "4"
	case l >= slog.LevelInfo:
		return "6"
	}
	return "7"
}
