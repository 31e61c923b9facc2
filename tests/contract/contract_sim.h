/* contract_sim — the simulated environment as a driver, for those who run cases in it or on top of it. */
#ifndef CONTRACT_SIM_H
#define CONTRACT_SIM_H

#include "env_contract.h"

extern const struct contract_driver contract_sim_driver;
extern uint64_t contract_sim_seed; /* the next world gets one more */

#endif
