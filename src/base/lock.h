/* Mutexes that are held for moments only: who finds one taken looks again a few times before sleeping, as being woken
   takes longer than the moment. It matters where one thread wakes another under the lock that both need. */
#ifndef UTTER_BASE_LOCK_H
#define UTTER_BASE_LOCK_H

#include <pthread.h>

static inline void lock_init(pthread_mutex_t *m) {
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
#ifdef __GLIBC__
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    pthread_mutex_init(m, &kind);
    pthread_mutexattr_destroy(&kind);
}

#endif
