"""The engine of each type of model, by trial; made by `python docs/generate/model_types.py docs/models.md`."""

TYPES = {
    "refused: are not causal: later tokens change the logits of earlier ones by 0.21 of their norm": """
        xlnet
    """,
    "refused: are not causal: later tokens change the logits of earlier ones by 0.52 of their norm": """
        reformer
    """,
    "refused: are not causal: later tokens change the logits of earlier ones by 0.76 of their norm": """
        prophetnet
    """,
    "refused: are not causal: later tokens change the logits of earlier ones by 1.1 of their norm": """
        cpmant
    """,
    "rows with causal: its layers attend, or carry a state, in their own way": """
        xlm
    """,
    "rows with is_decoder: branches of a token tree are not kept apart": """
        camembert data2vec-text roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod
    """,
    "rows with is_decoder: its layers attend, or carry a state, in their own way": """
        big_bird megatron-bert rembert roformer
    """,
    "rows: a token tree knows no attention sinks": """
        flint gpt_oss granite_swa granitemoe_swa mimo_v2_flash
    """,
    "rows: a token tree knows no soft caps": """
        gemma2 vaultgemma
    """,
    "rows: branches of a token tree are not kept apart": """
        bart bigbird_pegasus blenderbot blenderbot-small mamba2 marian mbart pegasus plbart recurrent_gemma rwkv
    """,
    "rows: it attends to 16 tokens only": """
        dots3_note dots3_note_text qwen4_exp qwen4_exp_text
    """,
    "rows: it attends to 2 tokens only": """
        axk2 deepseek_v32 deepseek_v4 glm_moe_dsa hy_v4
    """,
    "rows: its layers attend, or carry a state, in their own way": """
        bailing_hybrid bamba bloom blt codegen doge falcon falcon_h1 falcon_mamba git gpt_neo gpt_neox_japanese gptj
        granitemoehybrid inkling2_text inkling_text jamba kimi_linear lfm2_moe lfm3 mamba minimax mpt mvp nemotron
        nemotron_h olmo_hybrid openai-gpt qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next stablelm trocr
        whisper xglm xlstm zamba zamba2 zaya
    """,
    "tree": """
        afmoe apertus arcee aria_text axk1 beam biogpt bitnet cohere cohere2 cohere2_moe cohere_compass_text ctrl cwm
        dbrx deepseek_v2 deepseek_v3 diffllama dots1 emu3 ernie4_5 ernie4_5_moe exaone4 exaone_moe flex_olmo fuyu
        gemma gemma3 gemma3_text gemma3n_text gemma4 gemma4_text gemma4_unified gemma4_unified_text glm glm4 glm4_moe
        glm4_moe_lite got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neox granite granitemoe granitemoeshared helium hrm_text
        hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 jetmoe kolibri1 laguna lfm2
        llama llama4 llama4_text longcat_flash mellum minicpm3 minimax_m2 minimax_m3_vl_text ministral ministral3
        mistral mixtral mllama modernbert-decoder moshi moss_transcribe_diarize nanochat olmo olmo2 olmo3 olmoe opt
        persimmon phi phi3 phi4_multimodal phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 solar_open
        starcoder2 youtu
    """,
    "tree with is_decoder": """
        bert bert-generation electra ernie roc_bert
    """,
}
"""The types of each engine: `tree`, or `rows` or `refused` and why."""
KNOWN_ENGINES = {kind: engine for engine, kinds in TYPES.items() for kind in kinds.split()}
"""The engine of each type."""
