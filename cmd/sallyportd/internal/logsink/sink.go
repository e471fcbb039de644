package logsink

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"
)

// Format is how a Sink writes lines.
type Format string

// The formats.
const (
	Auto Format = "auto" // fields of the journal, if the stream leads there; else Text
	Text Format = "text"
	JSON Format = "json"
)

// Sink writes lines to a stream.
type Sink struct {
	out     io.Writer
	format  Format
	tail    *Tail
	journal *journal // nil: the stream does not lead to the journal
	edit    func(slog.Attr) slog.Attr

	text, json *slog.Logger
	buffer     bytes.Buffer
	torn       bool // the stream has a part of a line
}

// Config configures a Sink.
type Config struct {
	Out    io.Writer
	Format Format // empty: Auto
	// JournalStream is the variable JOURNAL_STREAM of the environment, and Journal the path
	// of the journal's socket; empty: DefaultJournal.
	JournalStream, Journal string
	Tail                   *Tail
	// Edit changes an attribute before it is written; nil: none changes.
	Edit func(slog.Attr) slog.Attr
}

// New returns a Sink.
func New(cfg Config) *Sink {
	s := &Sink{out: cfg.Out, format: cfg.Format, tail: cfg.Tail, edit: cfg.Edit}
	if s.format == "" || s.format == Auto {
		s.journal = journalOf(cfg)
	}
	all := &slog.HandlerOptions{Level: slog.Level(-1 << 30)}
	s.text = slog.New(slog.NewTextHandler(&s.buffer, all))
	s.json = slog.New(slog.NewJSONHandler(&s.buffer, &slog.HandlerOptions{Level: all.Level, ReplaceAttr: milliseconds}))
	return s
}

// Write writes one line. An error means that the line is lost, or a part of it.
func (s *Sink) Write(r slog.Record) error {
	line := slog.NewRecord(r.Time.Round(time.Millisecond), r.Level, r.Message, 0)
	r.Attrs(func(a slog.Attr) bool {
		if s.edit != nil {
			a = s.edit(a)
		}
		line.AddAttrs(a)
		return true
	})
	text := s.render(s.text, line)
	s.tail.add(text)
	if s.journal != nil && s.journal.write(line, text) == nil {
		return nil
	}
	if s.format == JSON {
		text = s.render(s.json, line)
	}
	return s.stream(text)
}

// milliseconds gives the time of each line the same form as in text.
func milliseconds(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(slog.TimeKey, a.Value.Time().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	return a
}

func (s *Sink) render(with *slog.Logger, r slog.Record) []byte {
	s.buffer.Reset()
	with.Handler().Handle(context.Background(), r) // a buffer has no errors
	return bytes.Clone(s.buffer.Bytes())
}

// stream writes a line to the stream. After a part of a line, it begins a new one.
func (s *Sink) stream(text []byte) error {
	skip := 0
	if s.torn {
		text, skip = append([]byte("\n"), text...), 1
	}
	n, err := s.out.Write(text)
	switch {
	case err == nil:
		s.torn = false
	case n > skip:
		s.torn = true
	case n == skip && skip > 0:
		s.torn = false
	}
	return err
}
