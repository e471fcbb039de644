/* The grants of one client that a gateway sends to another one by way of etcd, and the
 * mark of its writes: grants/GATEWAY/last. */

#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef REVOCATIONS
#define REVOCATIONS 1
#endif
#ifndef CRASHES
#define CRASHES 1                /* of each gateway */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1               /* requests that the gateway no longer waits for */
#endif
#ifndef REQUESTS
#define REQUESTS 12              /* more than the bounds above make: see send */
#endif
#define NONE 0
#define BIT(k) (1 << (k))

/* The cluster. Its transactions are atomic and linearizable: etcd's promise. */
byte key;                        /* the attempt in the client's key; NONE: there is none */
byte mark;                       /* NONE: there is none */
byte withdrawn;                  /* attempts whose key a revocation has deleted */

/* The network has each request for ever, and delivers it at any time, as often as it
 * likes. It loses requests and answers. */
byte requests;
byte required[REQUESTS + 1];     /* the mark that it compares */
byte writes[REQUESTS + 1];       /* the attempt that it puts; NONE: it deletes the key */
byte replaces[REQUESTS + 1];     /* the new mark: one that no other request has */
byte upTo[REQUESTS + 1];         /* the last attempt when it was made */

/* The client, and the list of clients. */
byte begun;
bool revoked;
byte revocations;
bool calm;                       /* no more failures, attempts and revocations */

/* The gateway that sends. In its memory: */
bool up = true;
bool wanted, changed;            /* an operation waits; it has come since the request */
byte wish;                       /* what the key shall be */
byte known;                      /* its last mark */
byte asked;                      /* the request without an answer */
mtype = { SENT, DONE, DIFFERS };
mtype answer = SENT;
byte seen;                       /* the mark in the answer */
byte crashes, timeouts;
#ifdef MARK_RESTARTS
byte sinceStart;
#endif

/* The gateway that receives. In its memory: */
bool listens = true;
byte newest;                     /* the attempts up to this one have opened: the book */
byte shown;                      /* the key as the watch has shown it */
byte opened;                     /* the attempt whose lease is open */
byte stops;

/* The properties that assertions name. */
hidden byte opens_revoked, later_removed, too_many;
hidden byte applied_;

inline want(attempt) { wish = attempt; wanted = true; changed = (asked != NONE) }

/* send is Grants.commit: a transaction after the last one of this gateway. */
inline send() {
  too_many = (requests == REQUESTS);
  assert(!too_many);
  requests++;
  required[requests] = known;
  writes[requests] = wish;
  upTo[requests] = begun;
#ifdef MARK_RESTARTS
  sinceStart++;
  replaces[requests] = sinceStart;
#else
  replaces[requests] = requests;
#endif
  asked = requests; answer = SENT
}

#if defined(UNMARKED_GRANTS)
#define MAY(r) (mark == required[r] || writes[r] != NONE)
#elif defined(UNMARKED_REVOCATIONS)
#define MAY(r) (mark == required[r] || writes[r] == NONE)
#else
#define MAY(r) (mark == required[r])
#endif

/* apply is a transaction of etcd. */
inline apply(r) {
  applied_ = MAY(r);
  if
  :: applied_ ->
     if
     :: writes[r] == NONE ->
        later_removed = (key > upTo[r]);
        assert(!later_removed);
        withdrawn = withdrawn | (BIT(upTo[r] + 1) - 1)
     :: else
     fi;
     key = writes[r];
#ifdef MARK_STAYS
     if :: mark == NONE -> mark = replaces[r] :: else fi
#else
     mark = replaces[r]
#endif
  :: else
  fi
}

/* finish ends the operation that the request was for, unless a newer one has come. */
inline finish() { wanted = changed }

active proctype sender() {
end:
  do
  :: d_step { up && wanted && asked == NONE -> changed = false; send() }
  :: d_step { up && asked != NONE && answer == DONE ->
       known = replaces[asked]; finish(); asked = NONE }
  :: d_step { up && asked != NONE && answer == DIFFERS ->
       known = seen;
       if :: seen == replaces[asked] -> finish() :: else fi;   /* an earlier copy */
       asked = NONE }
  :: d_step { up && asked != NONE && !calm && timeouts < TIMEOUTS ->
       timeouts++; asked = NONE;
#ifdef NO_PUT_BACK
       finish()
#endif
     }
  :: d_step { up && !calm && crashes < CRASHES ->
       crashes++; up = false; wanted = false; changed = false; wish = NONE; known = NONE; asked = NONE;
#ifdef MARK_RESTARTS
       sinceStart = 0
#endif
     }
  :: d_step { !up -> up = true }
#ifndef NO_OWN_RULE
  /* own: the gateway had stopped before it could delete its key. */
  :: d_step { up && revoked && key != NONE && !wanted && asked == NONE -> want(NONE) }
#endif
  od
}

active proctype etcd() {
end:
  do
  :: d_step { asked != NONE && answer == SENT ->
       apply(asked);
       if :: applied_ -> answer = DONE :: else -> answer = DIFFERS fi;
       seen = mark }
  od
}

/* network delivers a copy of any request. */
active proctype network() {
  byte r;
end:
  do
  :: atomic {
       requests > 0;
       select(r : 1 .. requests);
       d_step { apply(r); r = NONE }
     }
  od
}

/* learn is what the watch, or a snapshot, shows. */
inline learn() {
  shown = key;
  if
  :: key == NONE -> opened = NONE
  :: key > newest ->
     opens_revoked = withdrawn & BIT(key);
     assert(!opens_revoked);
     opened = key; newest = key
  :: else                        /* superseded */
  fi
}

active proctype receiver() {
end:
  do
  :: d_step { listens && shown != key -> learn() }
  :: d_step { listens && !calm && stops < CRASHES ->
       stops++; listens = false; opened = NONE; newest = NONE; shown = NONE }
  :: d_step { !listens -> listens = true; learn() }
  od
}

/* A client that may knock again after it was revoked is in the list again. */
active proctype clients() {
  do
  :: d_step { up && !revoked && begun < ATTEMPTS -> begun++; want(begun) }
  :: d_step { !revoked && revocations < REVOCATIONS ->
       revoked = true; revocations++;
       if :: up -> want(NONE) :: else fi }
  :: d_step { revoked -> revoked = false }
  :: calm = true; break
  od
}

#ifdef LIVE
#define settled (calm && (!revoked || (key == NONE && opened == NONE)))
ltl in { <> [] settled }
#endif
