// Package knocktime calculates and measures the duration of exchanges by knocks:
// Tables 1 to 3 of Improved Port Knocking with Strong Authentication (deGraaf,
// Aycock, Jacobson, 2005), by the model and over a real line.
//
//	Rows      the rows of the tables, each with the paper's figures
//	  Model   the exact time of request and response as packets, the challenge,
//	          one and a half round trips, and the delays, if there are any
//	Measure   each row over the line, once or more       (Linux)
//	  Link    two hosts and the line between them:
//
//	            client --tbf--> near | relay | far <--tbf-- server
//
//	          tbf sends packets at 64 kbit/s, of which only IP bytes count; the
//	          relay delivers each one 50 ms after its last bit has left
//	  Exchange  client: request -> server: challenge -> client: response;
//	          it ends when the server's decoder has the response
//	Results   as a text with the arithmetic, or as JSON
//
// Package real measures the same rows with sallyportd and sallyport, over the line of
// package line, which also disturbs packets.
//
// The relay has two goroutines for each direction: one receives frames, one
// delivers them. When the queue between them is full, frames wait in the socket.
// An exchange has two goroutines: its client and its server. Each goroutine has a
// thread with a high priority.
package knocktime
