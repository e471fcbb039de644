// Package trial remembers which hidden services are on trial, and decides what the
// firewall's table shuts only for a time.
//
//	--trial 5m   Question.Answer: newly hidden services are on trial until then
//	               -> Write, before the table is made
//	             Left -> firewall.Trial: the kernel opens what is not confirmed in time
//	confirm      the server, when it has seen a connection that got in by a knock
//	               -> Confirm, before the holder closes it for good; if the server dies in
//	               between, the holder finds that in the record
//	the end of a server in order
//	               -> Stop: the next --trial may begin another trial; without it, the
//	               trial keeps its end
//	each later start, "firewall load" and "firewall hold" too
//	             Question.Answer without Asked: a trial continues with the time that it
//	               has left, and unconfirmed services stay open after it
//
// The record is a file in the state directory. It is missing until the first trial:
// then everything is closed. If it cannot be read, everything is closed, too. A service
// that the table of the kernel hides for good is never on trial, whatever the record has:
// a start that finds that records it as confirmed.
package trial
