// Package insider has a client of the shipped server attack it with a secret of
// its own, and tells what becomes of the others meanwhile.
//
//	Run        a server's host and another, joined by a link; on the first a
//	           server, with a web service alone or with firewall services
//	  Scenario nothing; one client, or fifty, with rights to one service, that
//	           complete 10,000 sequences a second from 200 addresses
//	  honest   clients with addresses of their own: one attempt each
//	Result     how many of those were granted, and how soon; what the server
//	           counted, and how much it logged
//
// All datagrams are signed before the window begins. The generator has a core,
// the server another. Linux only, but for Result.
package insider
