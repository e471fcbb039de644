// Package real measures exchanges of the challenge–response protocol by the shipped
// programs: sallyportd, with packet capture, and "sallyport knock --json", each as a
// process on its own host of network namespaces.
//
//	Rows    each row of Tables 1 to 3 over the paper's line (64 kbit/s, 100 ms):
//	        the server is started with the row's encoding, if "check" accepts it
//	Curves  the share of exchanges that fail at the first attempt, at restart
//	        boundaries (section 7.2, footnote 5), at short delays (Table 3), and with
//	        loss and duplicates, beside the prediction of package line
//	  network   client --near| relay |far-- server
//	            lanes: an address of the client and one of the server each, so that
//	            many clients knock at the same time, each on its own line
//	    relay   a thread for each direction: a frame's arrival, by the kernel's
//	            timestamp -> line.Path -> its deliveries, in the order of their times
//	  server    sallyportd for one configuration; its grants, from the admin socket
//	  knock     one process of the client -> its JSON, and the times of its packets
//	Result  as a text with bars, or as JSON
//
// The relay's queues are bounded by what the kernel's socket holds: a frame that it
// drops is an error of the measurement. Linux only, except for Result.
package real
