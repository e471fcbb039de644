// Package carrier carries the messages of the challenge–response protocol in the
// names of DNS queries and in HTTP requests (deGraaf, Aycock, Jacobson 2005, section
// 7.3). CARRIERS.md in the directory above is the specification,
// testdata/vectors.json its test vectors.
//
//	Message    a request or a response, or the parts of one that have arrived
//	  client                                     server
//	  New -> AppendLabel   -> name of a query    -> ParseLabel
//	      -> AppendPath    -> path of a GET      -> ParsePath
//	      -> AppendForm    -> body of a POST     -> ParseForm
//	                                             -> Assembler.Add, unless it is Complete
//	  ParseText <- TXT record  <-                AppendText <- challenge
//	  ParsePage <- HTML page   <-                AppendPage <- challenge
//
// This package does no I/O and reads no clock. The functions that parse retain
// nothing of their input and allocate nothing, and write to a Message only if they
// accept the input. An Assembler belongs to one goroutine; its memory is allocated
// when it is made. A parsed message is not authenticated.
package carrier
