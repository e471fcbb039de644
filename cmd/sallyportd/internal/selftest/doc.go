// Package selftest lets the server knock at itself once a minute, and judges the result.
//
//	Tester.Run     each minute: a test of at most three attempts
//	Config.Sign    one sequence of knocks
//	Config.Send    from a socket of the loopback to the knock ports of the minute
//	  -> the kernel's filter, the receiver, the verifier, the session: the same as for clients
//	Tester.Note    what became of each knock, by the session
//	Tester.Journal the attempt is durable before its grant; not in the record of a fleet
//	Tester.Gate    the grant opens a service that has no enforcer, so it opens nothing, and
//	               ends the test
//	judge          passed, missed or excused; a pure function
//	Tester.Alive   false after three misses in a row: the server then no longer notifies the
//	               watchdog
//
// The client is in no list: its identifier begins with "#", which in a clients file begins
// a comment. Its secret, and the rest of the identifier, are random at each start, so that
// no other program can answer the test, nor a stranger use the identifier to make the
// server compute HMACs.
//
// A miss is excused if something else may have caused it: datagrams that were dropped,
// crowded queues, too little processor time, ports that another program has, a record that
// cannot be written, a record or a firewall that answers late (waits.go), a clock that was
// set, or a suspension. So a flood cannot stop the watchdog. Nor can a host on which no test
// has ever passed.
//
// Run has a goroutine. The sessions and the recorder call Note, Journal and Gate from theirs.
package selftest
