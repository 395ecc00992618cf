from easydict import EasyDict as edict

config = edict(
    margin_list=(1.0, 0.5, 0.0), network="r50", resume=False, save_all_states=False, output="ms1mv3_arcface_r50",
    embedding_size=512, sample_rate=1, interclass_filtering_threshold=0, fp16=False, batch_size=128,
    optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4, verbose=2000, frequent=10, dali=False, dali_aug=False,
    gradient_acc=1, seed=2048, num_workers=2, wandb_key="", suffix_run_name=None, using_wandb=False,
    wandb_entity="entity", wandb_project="project", wandb_log_all=True, save_artifacts=False, wandb_resume=False,
)
