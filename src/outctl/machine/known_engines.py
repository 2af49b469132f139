"""The engine of each type of model, by trial; made by `python docs/generate/model_types.py docs/models.md`."""

TYPES = {
    "refused: are not causal: later tokens change the logits of earlier ones by 0.21 of their norm": """
        xlnet
    """,
    "refused: are not causal: later tokens change the logits of earlier ones by 0.44 of their norm": """
        paligemma
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
    "refused: are not causal: later tokens change the logits of earlier ones by 1.8 of their norm": """
        diffusion_gemma
    """,
    "refused: cannot be asked": """
        blip blip-2 idefics instructblip instructblipvideo kosmos-2 pi0
    """,
    "refused: do not generate text by this version of transformers": """
        evolla
    """,
    "refused: read their prompt with an encoder": """
        florence2 pix2struct pp_formulanet t5gemma2 udop vision-encoder-decoder
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
        bart bigbird_pegasus blenderbot blenderbot-small kosmos-2.5 mamba2 marian mbart pegasus plbart recurrent_gemma
        rwkv
    """,
    "rows: it attends to 16 tokens only": """
        dots3_note dots3_note_text glm5_next qwen4_exp qwen4_exp_text
    """,
    "rows: it attends to 2 tokens only": """
        axk2 deepseek_v32 deepseek_v4 glm_moe_dsa hy_v4 mistral_large4
    """,
    "rows: its layers attend, or carry a state, in their own way": """
        bailing_hybrid bamba bloom blt codegen doge falcon falcon_h1 falcon_mamba git gpt_neo gpt_neox_japanese gptj
        granitemoehybrid inkling2 inkling2_text inkling_mm_model inkling_text jamba kimi_linear lfm2_moe lfm3 lfm3_vl
        mamba minicpm_ocr minicpmv4_6 minicpmv4_7 minimax mpt mvp nemotron nemotron_h nemotron_h_omni olmo_hybrid
        openai-gpt qwen2_5_omni_thinker qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next
        qwen3_omni_moe_thinker stablelm trocr video_llama_3 whisper xglm xlstm zamba zamba2 zaya
    """,
    "tree": """
        afmoe apertus arcee aria aria_text axk1 aya_vision beam biogpt bitnet chameleon cohere cohere2 cohere2_moe
        cohere2_vision cohere_compass cohere_compass_text cosmos3_edge cosmos3_omni ctrl cwm dbrx deepseek_ocr2
        deepseek_v2 deepseek_v3 deepseek_vl deepseek_vl_hybrid diffllama dots1 emu3 ernie4_5 ernie4_5_moe
        ernie4_5_vl_moe exaone4 exaone4_5 exaone_moe flex_olmo fuyu gemma gemma3 gemma3_text gemma3n_text gemma4
        gemma4_text gemma4_unified gemma4_unified_text glm glm4 glm46v glm4_moe glm4_moe_lite glm4v glm4v_moe glm_ocr
        glmga got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neox granite granite4_vision granite_docling granitemoe
        granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl hy_v3 hyperclovax
        hyperclovax_vision_v2 idefics2 idefics3 internlm3 internvl iquestcoder jais2 janus jetmoe kimi_k25 kolibri1
        laguna lfm2 lfm2_vl lighton_ocr llama llama4 llama4_text llava llava_next llava_next_video llava_onevision
        longcat_flash mellum minicpm3 minimax_m2 minimax_m3_vl minimax_m3_vl_text ministral ministral3 mistral
        mistral3 mistral4 mixtral mllama modernbert-decoder molmo2 moshi moss_transcribe_diarize muse_glimmer
        muse_spark nanochat olmo olmo2 olmo3 olmoe opt ovis2 paddleocr_vl persimmon phi phi3 phi4_multimodal phimoe
        pp_chart2table qianfan_ocr qwen2 qwen2_5_vl qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_vl qwen3_vl_moe seed_oss
        shieldgemma2 smollm3 smolvlm solar_open starcoder2 step3p7 unlimited_ocr video_llava vipllava youtu
    """,
    "tree with is_decoder": """
        bert bert-generation electra ernie roc_bert
    """,
}
"""The types of each engine: `tree`, or `rows` or `refused` and why."""
KNOWN_ENGINES = {kind: engine for engine, kinds in TYPES.items() for kind in kinds.split()}
"""The engine of each type."""
