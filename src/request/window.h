/* How far ahead of a node's answers its requests go: in bytes that are asked for and not here yet.
 *
 * The rule: as many bytes as the path holds, twice over at most. What the path holds is the
 * product of the rate at which it delivers (windowed maximum over rounds, a round being about one
 * round trip) and of the round trip of an answer that found nothing in its way. From the first
 * request on the window leads TCP's slow start: it is three times what the last round delivered,
 * until the rate has not grown by a quarter in three rounds (the plateau of Cardwell et al., "BBR:
 * congestion-based congestion control", ACM Queue 14(5), 2016; so are the maximum filter, the marks
 * on samples that the application limited, and the drain). Twice, because a request takes half a
 * round trip before it is worth anything to the sender, and because what waits at the server is
 * what TCP needs to find a higher rate. Less, down to once and a few requests, while a queue stands
 * on the way: then the path has all it can carry, and the rest only waits or is dropped. And three
 * times where the rate has fallen of late and a queue stands: then others fill it, and a loss of
 * theirs or ours makes answers take a round trip more.
 *
 * No socket and no clock: it is told what went and came, and when; times are nanoseconds of any
 * steady clock. Not thread-safe. Nothing is allocated. */
#ifndef STN_WINDOW_H
#define STN_WINDOW_H

#include <stdint.h>

enum { STN_WINDOW_SLICES = 4, STN_WINDOW_RING = 32, STN_WINDOW_ROUNDS = 10, STN_WINDOW_PROOF = 3 };

enum stn_window_phase {
    STN_WINDOW_RAMP,    /* the rate still grows from round to round */
    STN_WINDOW_STEADY,  /* follows rate and round trip */
    STN_WINDOW_DRAIN,   /* half the product for a moment: the round trip is measured anew */
    STN_WINDOW_BACK_OFF /* the node said that it is overloaded, or lets requests time out */
};

struct stn_window {
    enum stn_window_phase phase;
    uint64_t limit_bytes; /* of stn_window_in_flight() */
    uint64_t max_bytes;   /* of limit_bytes; set by the owner at any time */

    /* what is known of the path; 0: nothing */
    uint64_t rtt_ns;       /* least that was seen with nothing in the way, until measured anew */
    uint64_t response_ns;  /* to an answer's first byte, nothing in the way: with what the server
                              takes; smoothed */
    uint64_t transport_ns; /* the round trip of late, with queues on the way; 0: not told */
    double rate, rate_mean, rate_max; /* bytes a second: of the last round; of some more; highest of
                                         the last rounds */

    /* requests */
    uint64_t outstanding_bytes; /* whole answers */
    uint64_t n_outstanding;
    uint64_t landed_bytes;  /* of them; see stn_window_landed() */
    double typical_bytes;   /* of an answer, smoothed; 0: none yet */
    unsigned n_connections; /* ready */

    /* rounds: STN_WINDOW_SLICES slices make one */
    uint64_t slice_bytes[STN_WINDOW_RING], slice_began_ns[STN_WINDOW_RING];
    unsigned n_slices;                /* ended, ever */
    unsigned n_limited;               /* slices until the round is free of room nobody wanted */
    double rounds[STN_WINDOW_PROOF];  /* rates, a ring */
    double maxima[STN_WINDOW_ROUNDS]; /* of what of them lasts, a ring */
    double long_rate, peak;           /* of many rounds; its highest, slowly forgotten */
    unsigned n_rounds;                /* that say something about the path, ever */
    double plateau;                   /* rate that has not been outgrown ... */
    unsigned n_plateau;               /* for so many rounds */

    double gain;           /* of the product, when STEADY: less while a queue stands on the way */
    uint64_t round_rtt_ns; /* confirmed in this round, the least; 0: none */
    uint64_t measured_ns;  /* when the round trip was last seen as it is taken for */
    double measured_rate;  /* rate_max as of then */
    unsigned n_answers;    /* that response_ns is the mean of, before the first drain */
    uint64_t drained_ns;   /* when it was last drained, if ever */
    int has_drained;
    uint64_t drain_ns;                       /* DRAIN: until */
    int has_changed;                         /* DRAIN: path or server, as it seems */
    uint64_t drained_min_ns, drained_sum_ns; /* of answers measured in it: delay, service */
    unsigned n_drained;
    uint64_t cap_bytes; /* after an overload; UINT64_MAX: none */
    uint64_t hold_ns;   /* the cap does not grow before */

    /* pacing */
    double credit_bytes; /* requests may go while it is positive */
    uint64_t credit_ns;  /* as of */
    uint64_t free_bytes; /* need none: each connection's first flight, or its first request */
};

void stn_window_init(struct stn_window *w, uint64_t max_bytes, uint64_t now_ns);

/* A round trip that no answer of ours was in the way of: of connecting, of a heartbeat on a
 * connection without requests. */
void stn_window_rtt(struct stn_window *w, uint64_t rtt_ns, uint64_t now_ns);
/* A round trip on a connection without requests, while others have some: what it is longer than the
 * least is a queue on the way. It should be told in each round or so; that it is as short as ever
 * saves a drain. */
void stn_window_confirm(struct stn_window *w, uint64_t rtt_ns, uint64_t now_ns);
void stn_window_connected(struct stn_window *w, unsigned n_connections, uint64_t now_ns);

/* A request may go whose answer will have so many bytes: there is room, and credit. */
int stn_window_allows(const struct stn_window *w, uint64_t bytes);
/* It went. Returns 1 if it found so little in its way that the time to its answer's first byte is
 * a measure: keep that for stn_window_first_byte(). */
int stn_window_sent(struct stn_window *w, uint64_t bytes, uint64_t now_ns);
void stn_window_first_byte(struct stn_window *w, uint64_t delay_ns, uint64_t now_ns);
/* Bytes came, of whatever answer. */
void stn_window_received(struct stn_window *w, uint64_t bytes);
/* So many bytes are here, of answers that have not ended. */
void stn_window_landed(struct stn_window *w, uint64_t bytes);
/* An answer has ended, or nobody waits for it any more: `bytes` as in sent. */
void stn_window_done(struct stn_window *w, uint64_t bytes);
void stn_window_overloaded(struct stn_window *w, uint64_t now_ns);

/* Ends slices and rounds that are over, moves the window, gives credit. `wanted`: requests wait for
 * this window now; rounds in which none did say nothing about the path. Returns when to call it
 * again at the latest. */
uint64_t stn_window_tick(struct stn_window *w, int wanted, uint64_t now_ns);
/* When a request of so many bytes may go: now, or when there is credit; UINT64_MAX: when something
 * comes. */
uint64_t stn_window_due(const struct stn_window *w, uint64_t bytes, uint64_t now_ns);

/* Bytes asked for and not here: whole answers, minus what has landed of them. */
uint64_t stn_window_in_flight(const struct stn_window *w);
/* So long bytes wait in queues on the way. */
uint64_t stn_window_queued_ns(const struct stn_window *w);
uint64_t stn_window_round_ns(const struct stn_window *w); /* so long takes a round */

#endif
