// Package logsink writes the lines of a log: as text, as JSON, or to the journal of systemd.
//
//	slog.Record -> text -> Tail: the last lines, for a bug report
//	            -> text or JSON -> the stream
//	            -> fields -> the journal's socket, if the stream leads to the journal;
//	               if that fails, text -> the stream
//
// The values of a record are numbers, truth values or texts, as package loglimit makes
// them. A Sink belongs to one goroutine, and blocks as long as its stream does. A Tail may
// be read concurrently.
package logsink
