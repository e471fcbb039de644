package loglimit

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"strings"
)

// maxText is the length of the longest text of an attribute, in bytes. The text of an error may
// come from another host, and hundreds of lines may wait. The journal splits a longer line into
// several, and the later ones would begin with a part of the text.
const maxText = 4 << 10

// handler is the slog.Handler of a Log. Its attributes are values that do not change.
type handler struct {
	log    *Log
	attrs  []slog.Attr // from WithAttrs
	owner  owner       // that they name
	prefix string      // from WithGroup
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.log.cfg.Level.Level() }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		c.attrs = flatten(c.attrs, &c.owner, h.prefix, a)
	}
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix += name + "."
	return &c
}

// Handle implements slog.Handler. It never blocks, and never fails.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	l := line{of: h.owner, record: slog.NewRecord(r.Time, r.Level, r.Message, 0)}
	l.of.kind = r.Message
	attrs := append(make([]slog.Attr, 0, len(h.attrs)+r.NumAttrs()), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = flatten(attrs, &l.of, h.prefix, a)
		return true
	})
	l.record.AddAttrs(attrs...)
	h.log.put(l)
	return nil
}

// flatten appends an attribute to a list: a number, a truth value or a text. A line is
// written later, when what a value points to may have changed.
func flatten(all []slog.Attr, of *owner, prefix string, a slog.Attr) []slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		for _, member := range v.Group() {
			all = flatten(all, of, prefix+a.Key+".", member)
		}
		return all
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindString:
	case slog.KindTime: // as a text handler writes it
		v = slog.StringValue(v.Time().Format("2006-01-02T15:04:05.000Z07:00"))
	default:
		v = slog.StringValue(textOf(v))
	}
	if v.Kind() == slog.KindString {
		v = slog.StringValue(cut(v.String()))
	}
	if prefix == "" {
		of.add(a.Key, v.String())
	}
	return append(all, slog.Attr{Key: prefix + a.Key, Value: v})
}

// cut returns a text of at most maxText bytes, and then how many more it had.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	begin := strings.ToValidUTF8(text[:maxText], "")
	return fmt.Sprintf("%s... (%d more bytes)", begin, len(text)-len(begin))
}

// textOf returns a value as a text handler writes it.
func textOf(v slog.Value) (text string) {
	defer func() { // a method of a nil pointer
		if p := recover(); p != nil {
			text = fmt.Sprint("!PANIC: ", p)
		}
	}()
	if v.Kind() != slog.KindAny {
		return v.String()
	}
	switch x := v.Any().(type) {
	case encoding.TextMarshaler:
		if b, err := x.MarshalText(); err == nil {
			return string(b)
		}
	case []byte:
		return string(x)
	}
	return fmt.Sprintf("%+v", v.Any())
}

// withLeftOut adds to a record how many lines before it were left out: to the number that it
// has itself, if it has one.
func withLeftOut(r slog.Record, left uint64) slog.Record {
	with := slog.NewRecord(r.Time, r.Level, r.Message, 0)
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key != "left_out":
			with.AddAttrs(a)
		case a.Value.Kind() == slog.KindUint64:
			left += a.Value.Uint64()
		case a.Value.Kind() == slog.KindInt64:
			left += uint64(a.Value.Int64())
		}
		return true
	})
	with.AddAttrs(slog.Uint64("left_out", left))
	return with
}
