// Package carried holds the server's exchanges whose messages arrive in DNS queries and
// HTTP requests, by their numbers, in a table of fixed size. CARRIERS.md in
// verify/challenge is the specification.
//
//	Listener.Request, of a carrier at a name
//	  -> catalog     the operation of the message, without a lock
//	  -> Allows      may the client's address request it?
//	  -> find        the number is known: the same request gets the same challenge
//	  -> class       an operation, for addresses or for connections: its own rate,
//	                 the common rate, or the reserve for addresses of known clients
//	  -> challenge   the nonce, the port; made without the lock
//	  -> insert      a free slot, or that of the oldest exchange of a class beyond its
//	                 share of the table
//	Listener.Response
//	  -> find        the exchange, which ends here
//	  -> Verified    a ticket, for TicketTime, and OnProof
//	Take             the ticket of a proof, once
//	Turn             -> the masks of the live minutes, if requests age
//	Sweep            -> exchanges that have expired
//
// Any goroutine may call everything here. One lock guards the table; no message is
// parsed, and no MAC or signature computed, under it. A message for no operation takes no
// lock, and a refused one allocates nothing. All memory for exchanges is allocated by New.
// Update ends the exchanges of operations that it removes or replaces, and no others.
//
// # An attacker who knows an operation's ID
//
// IDs are public, and the number of an exchange is the sender's choice, so such an
// attacker can draw challenges. It cannot guess the number of another client's exchange,
// so it can neither end nor answer one. The rest is bounded:
//
//   - At other operations: nothing. A class, which is an operation for addresses or the
//     same operation for connections, always gets its part of half the rate, and its
//     share of the slots.
//   - At the same class: no exchange gives way before minLife has passed since its
//     challenge, because the rate permits fewer challenges in that time than there are
//     slots. Until then the client has to respond. (An attacker who also has the secret of
//     an operation, of this class or another, holds slots for longer by its proofs, and so
//     shortens this time; never for a class within its share.) A proved exchange gives way to strangers
//     only if its class has more proved exchanges than challenges.
//   - Computations with public keys are limited as challenges are, and divided like them: a
//     flood with the ID of an operation that has public keys costs some percent of a core.
//   - Beyond the rate, requests of the class get no challenge, except from addresses in
//     the reserve. So the attacker can keep out the others of that class for as long as it
//     sends more than the rate: an exchange for a connection has no address that
//     could set the client apart. These clients change to requests for an address, or
//     to the ports.
package carried
