package admin

import (
	"context"
	"log/slog"
	"strings"
)

// reporter handles the log of an HTTP server: each of its errors is an event with a fixed
// phrase, which the function logs. The text of net/http begins with "http: ".
type reporter func(err string)

func (r reporter) Enabled(context.Context, slog.Level) bool { return true }
func (r reporter) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r reporter) WithGroup(string) slog.Handler            { return r }

func (r reporter) Handle(_ context.Context, record slog.Record) error {
	r(strings.TrimPrefix(record.Message, "http: "))
	return nil
}
