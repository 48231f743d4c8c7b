"""The stages: settings and input folders in, a filled folder and its part of the record out."""

from featherlight.stages.distill.stage import DISTILL
from featherlight.stages.evaluate.stage import EVALUATE
from featherlight.stages.export.stage import EXPORT
from featherlight.stages.finetune.stage import FINETUNE
from featherlight.stages.label.stage import LABEL
from featherlight.stages.merge.stage import MERGE
from featherlight.stages.pack.stage import PACK
from featherlight.stages.prune.stage import PRUNE
from featherlight.stages.quantize.stage import QUANTIZE
from featherlight.stages.time.stage import TIME

STAGES = {
    stage.name: stage for stage in (FINETUNE, LABEL, DISTILL, MERGE, PRUNE, QUANTIZE, PACK, EXPORT, EVALUATE, TIME)
}
