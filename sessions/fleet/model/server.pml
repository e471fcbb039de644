/* What single.pml and fleet.pml share: the state of one client and one secret at each
 * server. A model defines SERVERS and the macros about sources before. */

#ifndef N
#define N 2                      /* knocks of an attempt */
#endif
#define NONCES (N * ATTEMPTS)    /* attempt k has the nonces k*N to k*N+N-1 */
#define WIDTH (2 * N)            /* of the window: see the README */
#define SLOTS 2                  /* attempts that a slot holds */
#define NONE 255
#define NEVER 255                /* a time: window.since = notYet */

/* A set of nonces is a bit mask. A window is one, with all nonces below it. */
#define BIT(nonce) (1 << (nonce))
#define ALL(k) ((BIT(N) - 1) << ((k) * N))

/* Time is the number of attempts that the client has begun. Its clock may be ahead. */
byte begun;
bit ahead;
#define STAMP(k) ((k) + 1 + ahead)
#define TOLERANCE 1
#ifndef AHEAD
#define AHEAD if :: ahead = 1 :: skip fi
#endif
/* From calm on, nobody disturbs the client's last attempts. HOSTILE is their number
 * before that. The last ones are stamped long after all that happened before. */
bool calm;
bool client_in;                  /* the client's last attempts are granted */
#define LATE(k, time) ((time) == NEVER || ((k) < HOSTILE && STAMP(k) <= (time)))

byte granted;                    /* attempts that a server has granted */

/* What a server has in memory. */
bool up[SERVERS] = true;
set_t used[SERVERS];             /* the window */
byte since[SERVERS];             /* the start */
byte count[SERVERS * ATTEMPTS];  /* knocks of an attempt in the slot, plus 1; 0: not held */
byte pending[SERVERS] = NONE;           /* complete attempt that waits for its record */
#define COUNT(g, k) count[(g) * ATTEMPTS + (k)]

/* The properties that assertions name. */
hidden byte granted_twice, grant_incomplete, grant_unrecorded, source_mixed, record_shrinks;

hidden byte h_, newer_, held_, lowest_, j_;

/* top sets h_ to the highest nonce, plus 1; replay.Window.next */
inline top(window) {
  h_ = NONCES;
  do
  :: h_ > 0 && !(window & BIT(h_ - 1)) -> h_--
  :: else -> break
  od
}

/* settle marks what is below a window; replay.Window.Accept, Floor */
inline settle(window) {
  top(window);
  if
  :: h_ > WIDTH ->
#ifdef BELOW_UNUSED
     window = window & ~(BIT(h_ - WIDTH) - 1)
#else
     window = window | (BIT(h_ - WIDTH) - 1)
#endif
  :: else
  fi
}

/* place looks for room for a new attempt; slot.find: lowest_ = NONE: no room. slow:
 * a newer attempt began more than reorderTime ago. */
inline place(g, k, slow) {
  newer_ = 0; held_ = 0; lowest_ = NONE; j_ = 0;
  do
  :: j_ == ATTEMPTS -> break
  :: else ->
     if
     :: COUNT(g, j_) > 0 ->
        held_++;
        if :: j_ > k -> newer_++ :: else fi;
        if :: lowest_ == NONE -> lowest_ = j_ :: else fi
     :: else
     fi;
     j_++
  od;
  if
  :: newer_ == SLOTS || (newer_ > 0 && slow) -> lowest_ = NONE
  :: else ->
     if
     :: held_ == SLOTS ->   /* attempt.retire */
        COUNT(g, lowest_) = 0;
        SOURCE_CLEAR(g, lowest_);
        used[g] = used[g] | ALL(lowest_);
        settle(used[g])
     :: else -> lowest_ = k
     fi
  fi
}

/* arrive is shard.decide and shard.handle for knock i of attempt k from a source. */
inline arrive(g, k, i, from, slow) {
  WITNESS(g, k, i, from);
  if
#ifndef NO_WINDOW
  :: used[g] & BIT(k * N + i)                                  /* Replay */
#endif
  :: else ->
#ifdef FOREIGN_UNUSED
     if
     :: COUNT(g, k) > 0 && !SOURCE_IS(g, k, from)
     :: else -> used[g] = used[g] | BIT(k * N + i)
     fi;
#else
     used[g] = used[g] | BIT(k * N + i);
#endif
     settle(used[g]);
     if
     :: LATE(k, since[g]) || LATE(k, LOST(g))                  /* BeforeStart */
     :: else ->
        if
        :: COUNT(g, k) == 0 ->
           place(g, k, slow);
           if
           :: lowest_ != NONE -> COUNT(g, k) = 1; SOURCE_SET(g, k, from)
           :: else                                             /* Older */
           fi
        :: else
        fi;
        if
        :: COUNT(g, k) > 0 && SOURCE_IS(g, k, from) && COUNT(g, k) <= N ->
           COUNT(g, k) = COUNT(g, k) + 1;                      /* attempt.record */
           if
           :: COUNT(g, k) == N + 1 ->
              PEND(g, k, from)                                 /* grantQueue.put */
           :: else
           fi
        :: else                                                /* OtherSource */
        fi
     fi
  fi
}

/* forget is a crash: what is in memory is lost. */
inline forget(g) {
  up[g] = false; used[g] = 0; since[g] = 0; pending[g] = NONE;
  j_ = 0;
  do
  :: j_ == ATTEMPTS -> break
  :: else -> COUNT(g, j_) = 0; SOURCE_CLEAR(g, j_); j_++
  od
}
