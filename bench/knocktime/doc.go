// Package knocktime tells how long an exchange of knocks and a challenge takes:
// Tables 1 to 3 of Improved Port Knocking with Strong Authentication (deGraaf,
// Aycock, Jacobson, 2005), by the model and over a real line.
//
//	Rows      the paper's, each with what the paper says of it
//	  Model   request and response as packets, the challenge, one and a half
//	          round trips, and pauses if there are any: exact
//	Measure   each row over the line, once or more       (Linux)
//	  Link    two hosts and the line between them:
//
//	            client --tbf--> near | relay | far <--tbf-- server
//
//	          tbf lets packets go at 64 kbit/s, IP bytes alone; the relay
//	          delivers each one 50 ms after its last bit has left
//	  Exchange  client: request -> server: challenge -> client: response;
//	          it ends when the server's decoder has the response
//	Results   as a text with the arithmetic, or as JSON
//
// The relay has two goroutines a direction: one takes frames in, one delivers
// them; what no longer fits between them waits in the socket. An exchange has
// two: its client and its server. Each keeps a thread that wakes before others.
package knocktime
