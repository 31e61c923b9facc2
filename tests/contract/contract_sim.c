/* contract_sim.c — the contract against the simulated environment. */
#include "contract_sim.h"
#include <stdlib.h>

/* contract_sim [case [first seed]] */
int main(int argc, char **argv)
{
    if (argc > 2)
        contract_sim_seed = strtoull(argv[2], NULL, 10);
    return contract_main(&contract_sim_driver, argc > 1 ? argv[1] : NULL);
}
