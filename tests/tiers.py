"""Which tests are in the fast tier, and which are compiled with all optimizations.

The tier of ``pytest -m fast`` is one model per family and one file, or a few tests of it, per room.
"""

# Files, and single tests of slower files.
FAST = (
    "tests/test_arguments.py",
    "tests/test_capabilities.py",
    "tests/test_core.py",
    "tests/test_experiment.py",
    "tests/test_learners.py",
    "tests/test_tiers.py",
    "tests/test_imports.py::test_every_file_is_in_a_room",
    "tests/test_imports.py::test_rooms_look_only_where_they_may",
    "tests/test_imports.py::test_models_know_no_optimizers",
    "tests/test_imports.py::test_nothing_reads_pickles",
    "tests/test_imports.py::test_every_module_says_what_it_is",
    "tests/test_imports.py::test_files_are_short",
    "tests/test_imports.py::test_importing_genjax_starts_no_device",
    "tests/test_imports.py::test_importing_genjax_loads_nothing_heavy",
    "tests/ops/test_gaussians.py",
    "tests/nets/test_mlp.py",
    "tests/data/test_shuffling.py",
    "tests/metrics/test_modes.py",
    "tests/evaluation/test_registry.py::test_exact_likelihood_and_units_that_a_density_of_continuous_data_has",
    "tests/evaluation/test_registry.py::test_what_a_model_lacks_is_not_available",
    "tests/monitoring/test_monitor.py::test_it_rings_once_for_the_dead",
    "tests/monitoring/test_monitor.py::test_it_is_silent_for_the_living",
    "tests/figures/test_images.py::test_tiles_stand_row_by_row_with_gaps_of_two",
    "tests/figures/test_images.py::test_a_picture_is_saved_whole_and_alone",
    "tests/runner/test_train.py::test_a_run_folder_reads_back",
    "tests/cli/test_commands.py::test_train_wrote_everything",
    "tests/cli/test_commands.py::test_sample_draws_again_and_repeats_with_its_seed",
    "tests/cli/test_commands.py::test_resume_passes_over_a_damaged_newest_checkpoint",
    "tests/cli/test_commands.py::test_evaluate_says_what_each_number_is",
    "tests/latent/test_traversal.py",
    "tests/estimators/test_rbm.py::test_parameters_survive_cloning_and_pickling",
    "tests/estimators/test_rbm.py::test_scores_are_log_likelihoods_and_sum_to_one",
)

# Cases of the contract tests, by name: the first model of each family.
FAST_CASES = (
    "vae",
    "gan",
    "made",
    "real_nvp",
    "diffusion",
    "rbm",
    "energy_by_persistent_contrastive_divergence",
    "gmmn",
)

# Tests that compute longer than they compile: everything else is compiled with few optimizations.
OPTIMIZED = (
    "tests/boltzmann/test_annealing.py",
    "tests/energy/test_annealing.py",
    "tests/energy/test_kernels.py",
    "tests/evaluation/test_samples.py::test_modes_are_counted_by_class_in_each_channel",
    "tests/metrics/test_frechet.py",
    "tests/moment_matching/test_gmmn.py",
    "tests/monitoring/test_monitor.py",
    "tests/ops/test_categorical.py::test_rare",
    "tests/ops/test_categorical.py::test_frequencies",
    "tests/test_notebooks.py",
    "tests/vae/test_linear.py",
)


def compiles_quickly(item) -> bool:
    """Return whether a test is compiled with few optimizations; learning runs never are."""
    return not item.nodeid.startswith(OPTIMIZED) and "slow" not in item.keywords


def is_fast(nodeid: str) -> bool:
    """Return whether a test is in the fast tier."""
    path, *names = nodeid.partition("[")[0].split("::")
    if path == "tests/contract/test_models.py":
        return nodeid.partition("[")[2].removesuffix("]") in FAST_CASES
    return path in FAST or (bool(names) and f"{path}::{names[-1]}" in FAST)
