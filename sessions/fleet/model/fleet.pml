/* Two gateways, whose record is one key of an etcd cluster. */

#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef RESTORES
#define RESTORES 1               /* of etcd, from a backup: 0 or 1 */
#endif
#ifdef LIVE
#define HOSTILE (ATTEMPTS - 2)
#else
#define HOSTILE ATTEMPTS
#endif
#define SERVERS 2
#define SOURCES 1                /* single.pml has the rules about sources */
#define CLIENT 0
#define RETRIES 2
#define set_t byte
#define LOST(g) lostUntil[g]
#define SOURCE_IS(g, k, s) true
#define SOURCE_SET(g, k, s) skip
#define SOURCE_CLEAR(g, k) skip
#define WITNESS(g, k, i, s) skip
#define PEND(g, k, s) pending[g] = k

#include "server.pml"

#if defined(NO_COMPARE)
#define SAME(old, rev) true
#define REVISED(x) skip
#elif defined(BY_REVISION)
#define SAME(old, rev) (revision == (rev))
#define REVISED(x) x
#else
#define SAME(old, rev) (record == (old))
#define REVISED(x) skip
#endif

/* The cluster. Its transactions are atomic and linearizable: etcd's promise. */
byte record;                     /* nonces of granted attempts, and all below the window */
byte backup;
bit cluster;                     /* its ID */
byte restores;
byte revision, backupRevision;   /* ModRevision; only with BY_REVISION */

/* A gateway. On its disk: */
bit known[SERVERS];              /* the ID of the cluster that it has seen */
byte lostUntil[SERVERS];         /* stamps that a gap makes invalid */
/* In its memory: */
byte view[SERVERS];              /* the record as the watch, or an answer, has shown it */
byte viewRevision[SERVERS];
byte taken[SERVERS] = NONE;      /* what the recorder has in hand */
mtype = { IDLE, SENT, DONE, DIFFERS, OTHER_CLUSTER };
mtype state[SERVERS] = IDLE;     /* of its request: OTHER_CLUSTER to DONE are answers */
byte compared[SERVERS];          /* the request: Put if the record is this */
byte comparedRevision[SERVERS];
bit sentTo[SERVERS];             /* the cluster that the gateway knew then */
byte tries[SERVERS];
/* In the network: a request whose gateway no longer waits for it. */
byte lateTaken = NONE, lateCompared, lateRevision;

byte durable;                    /* attempts whose record has been in etcd at some time */
byte crashes;
hidden byte was_;

inline rest(g) {
  taken[g] = NONE; state[g] = IDLE; compared[g] = 0; comparedRevision[g] = 0;
  sentTo[g] = 0; tries[g] = 0
}

/* send makes the request, unless the gateway can refuse the attempt by itself. */
inline send(g) {
  if
#ifndef GAP_AT_WINDOW_ONLY
  :: LATE(taken[g], lostUntil[g]) -> rest(g)
#endif
#ifndef VIEW_UNCHECKED
  :: view[g] & ALL(taken[g]) -> rest(g)
#endif
  :: else ->
     compared[g] = view[g]; comparedRevision[g] = viewRevision[g];
     sentTo[g] = known[g]; state[g] = SENT
  fi
}

/* gap is what a gateway does when it sees another cluster ID. */
inline gap(g) {
#ifndef GAP_IGNORED
  lostUntil[g] = begun + TOLERANCE;
#endif
  known[g] = cluster; view[g] = 0; REVISED(viewRevision[g] = 0)
}

/* put is the transaction's Then: the union of windows. */
inline put(g, k, old) {
  was_ = record;
#if defined(MERGE_REPLACES)
  record = ALL(k);
#elif defined(NO_COMPARE)
  record = record | ALL(k);
#elif defined(WHOLE_RING)
  record = old | used[g] | ALL(k);
#else
  record = old | ALL(k);
#endif
  settle(record);
  REVISED(revision++);
  durable = durable | BIT(k);
  record_shrinks = was_ & ~record;
  assert(!record_shrinks)
}

/* learn takes what an answer, or the watch, shows. */
inline learn(g) { view[g] = record; REVISED(viewRevision[g] = revision) }

inline grant(g, k) {
  granted_twice = granted & BIT(k);
  grant_unrecorded = !(durable & BIT(k));
  assert(!granted_twice);
  assert(!grant_unrecorded);
  granted = granted | BIT(k);
  client_in = calm && (granted & BIT(ATTEMPTS - 1)) && (granted & BIT(ATTEMPTS - 2))
}

/* abandon leaves a request to the network, which may lose it. */
inline abandon(g) {
  if
  :: state[g] == SENT ->
     lateTaken = taken[g]; lateCompared = compared[g]; lateRevision = comparedRevision[g]
  :: else
  fi
}

proctype gateway(byte g) {
end:
  do
  :: d_step { up[g] && pending[g] != NONE && taken[g] == NONE ->   /* recorder.drain */
       taken[g] = pending[g]; pending[g] = NONE; send(g) }
  :: d_step { up[g] && state[g] == DONE ->
#ifdef CLUSTER_OF_ANSWER
       if :: sentTo[g] == known[g] -> grant(g, taken[g]) :: else -> gap(g) fi;
#else
       grant(g, taken[g]);
#endif
       rest(g) }
  :: d_step { up[g] && state[g] == DIFFERS ->
       if
#ifdef NO_RETRY
       :: true -> rest(g)
#else
       :: tries[g] == RETRIES -> rest(g)
       :: else -> tries[g]++; send(g)
#endif
       fi }
  :: d_step { up[g] && state[g] == OTHER_CLUSTER ->
       if :: known[g] != cluster -> gap(g) :: else fi;
       rest(g) }
  /* The answer, or the request, is too late. */
  :: d_step { up[g] && state[g] != IDLE && !calm && lateTaken == NONE ->
       abandon(g);
#ifdef TIMEOUT_GRANTS
       grant(g, taken[g]);
#endif
       rest(g) }
  :: d_step { up[g] && !calm && crashes < CRASHES && lateTaken == NONE ->
       crashes++; abandon(g); rest(g); forget(g); view[g] = 0; REVISED(viewRevision[g] = 0);
#ifdef GAP_NOT_DURABLE
       lostUntil[g] = 0;
#endif
     }
  /* A start. The watch has not answered yet. */
  :: d_step { !up[g] -> since[g] = begun; up[g] = true }
  od
}

/* follow is the watch of a gateway, which may be as late as it likes. */
inline follow(g) {
  d_step { up[g] && (view[g] != record || known[g] != cluster) ->
    if :: known[g] != cluster -> gap(g) :: else fi;
    learn(g);
    used[g] = used[g] | record;
    settle(used[g]) }
}

active proctype watch() {
end:
  do
  :: follow(0)
  :: follow(1)
  od
}

/* serve is a transaction and its answer. */
inline serve(g) {
  d_step { state[g] == SENT ->
    if
    :: SAME(compared[g], comparedRevision[g]) -> put(g, taken[g], compared[g]); state[g] = DONE
    :: else -> state[g] = DIFFERS
    fi;
#ifdef CLUSTER_OF_ANSWER
    sentTo[g] = cluster
#else
    if :: sentTo[g] != cluster -> state[g] = OTHER_CLUSTER :: else -> learn(g) fi
#endif
  }
}

inline clear() { lateTaken = NONE; lateCompared = 0; lateRevision = 0 }

active proctype etcd() {
end:
  do
  :: serve(0)
  :: serve(1)
  :: d_step { lateTaken != NONE ->
       if
       :: SAME(lateCompared, lateRevision) -> put(0, lateTaken, lateCompared)
       :: else
       fi;
       clear() }
  :: d_step { lateTaken != NONE -> clear() }
  :: d_step { restores < RESTORES && backup == 0 && record != 0 && !calm ->
       backup = record; REVISED(backupRevision = revision) }
  :: d_step { restores < RESTORES && !calm ->
       restores++; record = backup; cluster = 1 - cluster; REVISED(revision = backupRevision);
       backup = 0 }
  od
}

init { atomic { run gateway(0); run gateway(1) } }

#define quiet (up[0] && up[1] && lateTaken == NONE && \
  known[0] == cluster && known[1] == cluster)
#include "world.pml"
