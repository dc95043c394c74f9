"""The validation rows as a MindSpore dataset, in the batches that were planned."""

from __future__ import annotations

import copy

import numpy as np
from mindformers.dataset import CausalLanguageModelDataset
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister


@MindFormerRegister.register(MindFormerModuleType.DATASET)
class ValidationRows(CausalLanguageModelDataset):
    """MindFormers' dataset in batches of `planned_batch_size`, filled up by rows without a label.

    MindFormers overwrites `batch_size` by that of the training (dataset/utils.py, check_dataset_config).
    `padding` says how many rows MindDataset appends, of how many ids, and what each column of them holds.
    """

    def __new__(cls, dataset_config):
        config = copy.deepcopy(dataset_config)
        config.batch_size = config.pop("planned_batch_size")
        padding = config.pop("padding")
        if padding.rows:
            row = {name: np.full(padding.length, padding[name], np.int32) for name in config.input_columns}
            config.data_loader.update(num_padded=padding.rows, padded_sample=row)
        return super().__new__(cls, config)
