// Package loglimit writes the log of the server's processes: less than 10 lines in each
// second, whatever clients and the log's reader do. A client that attacks with its own
// secret can cause the same event again and again; its lines must not fill the disk, and
// must not hide those of others.
//
//	slog.Record -> handler: the attributes as text; kind (the message), client, service
//	  -> room.put     a bucket for each kind, client and service; then a place among the
//	                  lines that wait. Otherwise the line is left out, and counted. It
//	                  never blocks
//	  -> pump         one goroutine, which may block while it writes:
//	       room.next      reserved kinds first, then the client that was served least recently
//	       Budget         a line for each slot; processes with one standard error share it
//	       Tail           the last lines, for a bug report
//	       the next handler, which writes
//
// Lines that come at once are written one after the other, so a line may be written some
// seconds after its time. If the room is full, a line of the client that has most of them
// is left out.
//
// Each line that was left out is reported once: by the next line of its kind, client and
// service (left_out), or else within a minute by the line "log lines left out", which
// has the number of each kind. It comes also if nothing else is logged, and at the end.
//
// If the log's reader stalls, the pump waits and the room fills. If a write fails, its
// line is lost; "log lines dropped" reports the number when writing succeeds again.
package loglimit
