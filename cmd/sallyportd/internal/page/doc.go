// Package page makes a page that knocks: one HTML file with which a browser performs an
// exchange of the challenge–response protocol over HTTPS, without an app.
// verify/challenge/CARRIERS.md is the specification of the exchange.
//
//	Plan        what the browser must know: an operation, its secret, where to go next
//	  -> Make   PBKDF2 of a passphrase -> AES-256-GCM of the plan
//	       -> parts/page.html, with page.css, protocol.js, http.js, result.js, page.js in it
//	Passphrase  80 random bits
//	Load        a directory with pages that a server serves
//	  -> Handler  each at a path of 130 random bits, around a site
//
// Without the passphrase, a page shows only the server's URL. All pages have the same
// script, so its hash, which the page's content policy contains, is the same too. The
// policy permits requests to the server only, and no other script. Only Load
// does I/O. The functions are safe for concurrent use.
//
// The pictures of the guides are in pictures. From this directory, this makes them again,
// and others:
//
//	SALLYPORT_TEST_SCREENSHOTS=$PWD/pictures go test -run TestLayout .
package page
