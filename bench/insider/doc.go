// Package insider attacks the shipped server with the secrets of registered
// clients, and measures how many attempts of honest clients succeed.
//
//	Run        a server's host and another, connected by a link; on the first a
//	           server, with only a web service or with firewall services
//	  Scenario nothing; one client, or fifty, with rights to one service, that
//	           complete 10,000 sequences a second from 200 addresses
//	  honest   clients with different addresses: one attempt each
//	Result     how many of them were granted, and how soon; the server's
//	           counters, and the number of its log lines
//
// All datagrams are signed before the window begins. The generator and the server
// use different cores. Linux only, except for Result.
package insider
