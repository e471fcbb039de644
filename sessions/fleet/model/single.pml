/* One server, whose record is a file on its disk. */

#ifndef ATTEMPTS
#define ATTEMPTS 3
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifdef LIVE
#define HOSTILE (ATTEMPTS - 2)
#else
#define HOSTILE ATTEMPTS
#endif
#define SERVERS 1
#define SOURCES 2
#define CLIENT 0                 /* the client's address; 1 is the attacker's */
#define set_t byte
#define LOST(g) 0
#define SOURCE_IS(g, k, s) (source[k] == (s))
#define SOURCE_SET(g, k, s) source[k] = s
#define SOURCE_CLEAR(g, k) source[k] = 0
#define WITNESS(g, k, i, s) witness(k, i, s)
#define PEND(g, k, s) complete(k, s)

#include "server.pml"

bit source[ATTEMPTS];            /* of attempts in the slot */
byte arrived;                    /* nonces of which a datagram has arrived, ever */
byte first[ATTEMPTS] = 3;        /* addresses from which all datagrams so far came first */
bit pendingFrom, takenFrom;
byte pendingMark, takenMark;     /* Entry.HighestNonce, plus 1 */
byte taken = NONE;               /* what the recorder has in hand */
bool written;                    /* the journal has returned no error for it */
byte mark;                       /* on disk: Entry.HighestNonce, plus 1 */
byte crashes;


/* witness notes from which address each datagram came first. */
inline witness(k, i, from) {
  if :: !(arrived & BIT(k * N + i)) -> first[k] = first[k] & BIT(from) :: else fi;
  arrived = arrived | BIT(k * N + i)
}

inline complete(k, from) {
  grant_incomplete = (arrived & ALL(k)) != ALL(k);
  assert(!grant_incomplete);
  pending[0] = k; pendingFrom = from;
  top(used[0]);
  pendingMark = h_
}

/* grant is recorder.open. */
inline grant(k, from) {
  granted_twice = granted & BIT(k);
  grant_unrecorded = mark < (k + 1) * N;
  source_mixed = !ahead && !(first[k] & BIT(from));
  assert(!granted_twice);
  assert(!grant_unrecorded);
  assert(!source_mixed);
  granted = granted | BIT(k);
  client_in = calm && (granted & BIT(ATTEMPTS - 1)) && (granted & BIT(ATTEMPTS - 2))
}

/* save is state.Store.Record; merge */
inline save() {
#ifndef NO_RECORD
  if :: takenMark > mark -> mark = takenMark :: else fi
#else
  skip
#endif
}

inline drop() { taken = NONE; takenFrom = 0; takenMark = 0; written = false }

active proctype server() {
end:
  do
  :: d_step { up[0] && pending[0] != NONE && taken == NONE ->  /* recorder.drain */
       taken = pending[0]; takenFrom = pendingFrom; takenMark = pendingMark;
       pending[0] = NONE; pendingFrom = 0; pendingMark = 0 }
  /* recorder.recordAndOpen: the record succeeds, fails although it is on disk, or fails. */
  :: d_step { up[0] && taken != NONE && !written -> save(); written = true }
  :: d_step { up[0] && taken != NONE && !written && !calm -> save(); drop() }
  :: d_step { up[0] && taken != NONE && !written && !calm -> drop() }
  :: d_step { up[0] && written -> grant(taken, takenFrom); drop() }
  :: d_step { up[0] && !calm && crashes < CRASHES ->
       crashes++; forget(0); pendingFrom = 0; pendingMark = 0; drop() }
  :: d_step { !up[0] ->
#ifndef NO_MARK
       used[0] = BIT(mark) - 1;                       /* RaiseNonces, replay.Restored */
#endif
#ifndef NO_START_RULE
       since[0] = begun;                              /* Begin, threshold.refuses */
#endif
#ifdef NEVER_BEGIN
       since[0] = NEVER;
#endif
       up[0] = true }
  od
}

#define quiet up[0]
#include "world.pml"
