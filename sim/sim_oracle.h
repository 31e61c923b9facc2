/* sim_oracle — the names of everything that is judged, and of the levels of reading. */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#define SIM_ORACLE_TABLE(X)                                                                        \
    X(P1, "a vote leaves only when it survives power loss")                                        \
    X(P2, "an append is acknowledged only when it survives power loss")                            \
    X(P3, "a write succeeds only when a quorum would keep it")                                     \
    X(P5, "the log is let go only when an image that covers it survives power loss")               \
    X(R1, "one leader per term")                                                                   \
    X(R2, "a leader never removes its own entries")                                                \
    X(R3, "same index and term, same entry and same prefix")                                       \
    X(R4, "a leader has every committed entry")                                                    \
    X(R5, "no two nodes apply different entries at one index")                                     \
    X(R6, "term and commit never go back")                                                         \
    X(R7, "one vote per node and term")                                                            \
    X(R8, "only entries of the own term commit by counting, durable on a quorum")                  \
    X(R9, "a committed entry is never removed")                                                    \
    X(R10, "applied <= commit <= last")                                                            \
    X(R11, "each index applied once, in order")                                                    \
    X(R12, "membership changes one at a time, and with the log")                                   \
    X(S1, "equal digests at equal indexes")                                                        \
    X(S4, "equal content on all nodes")                                                            \
    X(S6, "a backup is of one moment between question and answer")                                 \
    X(C1, "per-key histories are linearizable")                                                    \
    X(C2, "acknowledged writes are there, exactly once")                                           \
    X(C3, "a read sees a prefix of history, and one node never an older one than before")          \
    X(C4, "a weak read sees what a node saw that led meanwhile")                                   \
    X(C5, "writes, linearizable and strong reads take effect between question and answer")         \
    X(C6, "a queue writes in the order of its numbers, and loses nothing while its node lives")    \
    X(C7, "a write sent again with its key happens once")                                          \
    X(C8, "each answer belongs to its question")                                                   \
    X(C9, "a write happens exactly if its condition holds")                                        \
    X(C10, "a read that waits for a write sees it")                                                \
    X(C11, "a large result arrives whole")                                                         \
    X(C12, "a read that bounds its age comes from who heard a leader within the bound")            \
    X(N1, "a clean stop ends in time and leaves no memory behind")                                 \
    X(N4, "a node stops only for a listed reason")                                                 \
    X(N5, "who has a full disk reads on, refuses writes, and lets others lead")                    \
    X(L1, "after healing the cluster serves again in bounded time")                                \
    X(L2, "a leader that no quorum answers steps down")                                            \
    X(L3, "an image arrives, however often its connection breaks")                                 \
    X(L4, "in a scenario the term changes no more often than it must")
enum sim_oracle {
#define SIM_ORACLE_ENUM_(name, text) SIM_##name,
    SIM_ORACLE_TABLE(SIM_ORACLE_ENUM_)
#undef SIM_ORACLE_ENUM_
        SIM_ORACLE_COUNT
};
const char *sim_oracle_name(enum sim_oracle o);
const char *sim_oracle_text(enum sim_oracle o);

enum sim_level { SIM_NONE, SIM_WEAK, SIM_LINEARIZABLE, SIM_STRONG, SIM_LEVEL_COUNT };

#endif
