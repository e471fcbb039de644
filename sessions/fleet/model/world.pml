/* The attacker, who is the network too, and the client. */

/* The attacker has each datagram as soon as the client begins the attempt. It sends any
 * of them, to any server, from any source, at any time, as often as it likes. What it
 * never sends is dropped, what it sends later is delayed. */
active proctype attacker() {
  byte g, k, i, from;
  bit slow;
end:
  do
  :: atomic {
       begun > 0;
       select(g : 0 .. SERVERS - 1);
       select(k : 0 .. HOSTILE - 1);
       select(i : 0 .. N - 1);
       select(from : 0 .. SOURCES - 1);
       select(slow : 0 .. 1);
       if
       :: k < begun && up[g] && !(calm && COUNT(g, k) == N) ->
          d_step { arrive(g, k, i, from, slow) }
       :: else
       fi;
       g = 0; k = 0; i = 0; from = 0; slow = 0
     }
  od
}

#ifdef LIVE
/* The client makes HOSTILE attempts at most, in the attacker's network. Once that is
 * quiet, it makes two more, interleaved as those to two addresses of a server are. */
ltl in { <> client_in }

#define THIS (ATTEMPTS - 2)
#define NEXT (ATTEMPTS - 1)
#define HAND(g, k, i) d_step { arrive(g, k, i, CLIENT, 0) }

active proctype client() {
  byte a, b;
  AHEAD;
  do
  :: begun < HOSTILE && !calm -> begun++
  :: d_step { quiet -> calm = true }; break
  od;
  select(a : 0 .. SERVERS - 1);
  select(b : 0 .. SERVERS - 1);
  begun = ATTEMPTS;
  HAND(a, THIS, 0);
  HAND(b, NEXT, 0);
  HAND(a, THIS, 1);
  pending[b] == NONE;      /* a newer grant replaces one that waits for its record */
  HAND(b, NEXT, 1)
}
#else
active proctype client() {
  AHEAD;
  do :: begun < ATTEMPTS -> begun++ :: else -> break od
}
#endif
